#!/usr/bin/env bash
# From raw text to README's table of Multi30k. What is done is not done again: the same command goes on after any stop.
#
#   scripts/multi30k.sh DATA [RUNS] [PYTHON]
#
# DATA holds train, valid and test in .en, .de and .fr; RUNS (runs/multi30k) takes the models and table.md. Four trainings,
# 60 to 90 minutes each on two cores. Needs `pip install sacremoses` for the second score. OPTIONS in the environment are
# added to every training, such as OPTIONS="--seed 2 --threads 1".
set -euo pipefail

data=${1:?usage: scripts/multi30k.sh DATA [RUNS] [PYTHON]}
runs=${2:-runs/multi30k}
python=${3:-python}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
table=$runs/table.md

mkdir -p "$runs"
printf '| direction | model | minutes | BLEU, sacreBLEU 13a, cased | BLEU, lowercase Moses tokens |\n| --- | --- | --- | --- | --- |\n' >"$table.part"
while read -r source target attention; do
    model=$runs/$source-$target-$attention
    read -r -a options <<<"${OPTIONS:-}"
    "$python" -m seq2seq train --config "$root/configs/multi30k.yaml" --data "$data" --source "$source" --target "$target" \
        --attention "$attention" --output "$model" --resume ${options[@]+"${options[@]}"}
    [[ -e $model/test.json && $model/test.json -nt $model/model.safetensors ]] ||
        "$python" -m seq2seq evaluate --model "$model" --data "$data" --split test --format json \
            --save-translations "$model/test.$target" --output "$model/test.json"
    moses=$("$python" "$root/scripts/bench/moses_bleu.py" "$target" "$model/test.$target" "$data/test.$target" | cut -d' ' -f1)
    "$python" - "$model" "$source → $target" "$attention" "$moses" >>"$table.part" <<'END'
import json, sys
model, direction, attention, moses = sys.argv[1:]
metrics = json.load(open(f"{model}/metrics.json", encoding="utf-8"))
lines = [json.loads(line) for line in open(f"{model}/metrics.jsonl", encoding="utf-8")]
bleu = next(metric for metric in json.load(open(f"{model}/test.json", encoding="utf-8"))["metrics"] if metric["name"] == "BLEU")
print(f"| {direction} | {attention} | {lines[-1]['seconds'] / 60:.0f} | {bleu['score']:.2f} | {moses} |")
END
done <<'RUNS'
en de bahdanau
en fr bahdanau
de en bahdanau
de en none
RUNS
mv "$table.part" "$table"
cat "$table"
