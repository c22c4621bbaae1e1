#!/usr/bin/env bash
# From raw text to README's table of Multi30k. What is done is not done again: the same command goes on after any stop.
#
#   scripts/multi30k.sh DATA [RUNS] [PYTHON]
#
# DATA holds train, valid and test in .en, .de and .fr; RUNS (runs/multi30k) takes the models and table.md. Five trainings
# on the pairs alone, three that go on from those with the pairs that models of both directions add, and three that go on
# from these with their own translations; some 20 minutes each on two cores that do nothing else. Needs
# `pip install sacremoses` for the second score. OPTIONS in the environment are added to every training, such as
# OPTIONS="--seed 2 --threads 1".
set -euo pipefail

data=${1:?usage: scripts/multi30k.sh DATA [RUNS] [PYTHON]}
runs=${2:-runs/multi30k}
python=${3:-python}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
table=$runs/table.md

# more SOURCE TARGET: a folder with three times the pairs, those of DATA and each side translated by a model
more() {
    local folder=$runs/more/$1-$2
    [[ -e $folder/train.$2 && $folder/train.$2 -nt $runs/$1-$2-bahdanau/model.safetensors &&
        $folder/train.$2 -nt $runs/$2-$1-bahdanau/model.safetensors ]] ||
        "$python" -m seq2seq diversify --data "$data" --source "$1" --target "$2" --output "$folder" \
            --forward "$runs/$1-$2-bahdanau" --backward "$runs/$2-$1-bahdanau"
}

# row SOURCE TARGET NAME FOLDER OPTION...: trains on FOLDER, scores, adds a line to the table
row() {
    local source=$1 target=$2 name=$3 folder=$4 model=$runs/$1-$2-$3 options moses
    read -r -a options <<<"${OPTIONS:-}"
    "$python" -m seq2seq train --config "$root/configs/multi30k.yaml" --data "$folder" --source "$source" \
        --target "$target" --output "$model" --resume "${@:5}" ${options[@]+"${options[@]}"}
    [[ -e $model/test.json && $model/test.json -nt $model/model.safetensors ]] ||
        "$python" -m seq2seq evaluate --model "$model" --data "$data" --split test --format json \
            --save-translations "$model/test.$target" --output "$model/test.json"
    moses=$("$python" "$root/scripts/bench/moses_bleu.py" "$target" "$model/test.$target" "$data/test.$target" | cut -d' ' -f1)
    "$python" - "$model" "$source → $target" "$name" "$moses" >>"$table.part" <<'END'
import json, sys
model, direction, name, moses = sys.argv[1:]
lines = [json.loads(line) for line in open(f"{model}/metrics.jsonl", encoding="utf-8")]
bleu = next(metric for metric in json.load(open(f"{model}/test.json", encoding="utf-8"))["metrics"] if metric["name"] == "BLEU")
print(f"| {direction} | {name} | {lines[-1]['seconds'] / 60:.0f} | {bleu['score']:.2f} | {moses} |")
END
}

mkdir -p "$runs"
printf '| direction | model | minutes | BLEU, sacreBLEU 13a, cased | BLEU, lowercase Moses tokens |\n| --- | --- | --- | --- | --- |\n' >"$table.part"
for pair in "en de" "de en" "en fr" "fr en"; do
    read -r source target <<<"$pair"
    row "$source" "$target" bahdanau "$data" --max-epochs 24
done
row de en none "$data" --attention none --max-epochs 24
for pair in "en de" "de en" "en fr"; do
    read -r source target <<<"$pair"
    more "$source" "$target"
    row "$source" "$target" diversified "$runs/more/$source-$target" --initial-model "$runs/$source-$target-bahdanau" \
        --learning-rate 0.001 --max-epochs 4 --validate-every 768 \
        --dropout-embedding 0.2 --dropout 0.3 --dropout-readout 0.3 --word-dropout 0.05
    row "$source" "$target" risk "$data" --initial-model "$runs/$source-$target-diversified" --risk 30 \
        --learning-rate 0.0002 --warmup-steps 50 --batch-tokens 800 --validate-every 200 --max-epochs 2
done
mv "$table.part" "$table"
cat "$table"
