#!/usr/bin/env bash
# From raw text to README's figures of Multi30k: the table of translators, BLEU by source length, and what each
# ingredient is worth. What is done is not done again: the same command goes on after any stop.
#
#   scripts/multi30k.sh DATA [RUNS] [PYTHON]
#
# DATA holds train, valid and test in .en, .de and .fr; RUNS (runs/multi30k) takes the models and table.md, lengths.md,
# lengths.png and ablation.md. One model for en → de and one for de → en come of four teachers (`seq2seq distill`), one
# for en → fr of four others; without attention, of the first 11,600 pairs and by the papers' configurations a model
# learns from the pairs alone. About five hours of two cores, and three more for the ablation. Needs `pip install
# sacremoses` for the second score. OPTIONS in the environment are added to every training but the ablation's.
set -euo pipefail

data=${1:?usage: scripts/multi30k.sh DATA [RUNS] [PYTHON]}
runs=${2:-runs/multi30k}
python=${3:-python}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
table=$runs/table.md
read -r -a options <<<"${OPTIONS:-}"
given=(--data "$data" ${options[@]+"${options[@]}"})

# score SOURCE TARGET MODEL NAME HOW OPTION...: adds a line to the table
score() {
    local model=$runs/$3 found=$runs/scores/${3//\//-}-$5 moses
    mkdir -p "$runs/scores"
    [[ -e $found.json && $found.json -nt $model/model.safetensors ]] ||
        "$python" -m seq2seq evaluate --model "$model" --data "$data" --split test --format json \
            --save-translations "$found.$2" --output "$found.json" "${@:6}"
    moses=$("$python" "$root/scripts/bench/moses_bleu.py" "$2" "$found.$2" "$data/test.$2" | cut -d' ' -f1)
    "$python" - "$model" "$found.json" "$1 → $2" "$4, $5" "$moses" >>"$table.part" <<'END'
import json, sys
model, found, direction, name, moses = sys.argv[1:]
lines = [json.loads(line) for line in open(f"{model}/metrics.jsonl", encoding="utf-8")]
bleu = next(metric for metric in json.load(open(found, encoding="utf-8"))["metrics"] if metric["name"] == "BLEU")
print(f"| {direction} | {name} | {lines[-1]['seconds'] / 60:.0f} | {bleu['score']:.2f} | {moses} |")
END
}

mkdir -p "$runs"
"$python" -m seq2seq distill --config "$root/configs/distill.yaml" "${given[@]}" --source en --target de \
    --output "$runs/en-de" --reverse-output "$runs/de-en"
"$python" -m seq2seq distill --config "$root/configs/distill.yaml" "${given[@]}" --source en --target fr \
    --output "$runs/en-fr"
"$python" -m seq2seq train --config "$root/configs/multi30k.yaml" "${given[@]}" --source de --target en \
    --output "$runs/none" --resume --attention none --max-epochs 24
few=$runs/first11600
mkdir -p "$few"
for language in en de; do
    head -n 11600 "$data/train.$language" >"$few/train.$language"
    cp "$data/valid.$language" "$few/"
done
"$python" -m seq2seq train --config "$root/configs/multi30k.yaml" "${given[@]}" --data "$few" --source en --target de \
    --output "$runs/en-de-few" --resume
papers=(--vocab-size 8000 --encoder-size 512 --decoder-size 512 --optimizer adam --learning-rate 0.0005 --max-epochs 15
    --patience 2)
"$python" -m seq2seq train --config "$root/configs/cho2014.yaml" "${papers[@]}" "${given[@]}" --source de --target en \
    --output "$runs/cho2014" --resume
"$python" -m seq2seq train --config "$root/configs/bahdanau2015.yaml" "${papers[@]}" --embedding-size 320 \
    --attention-size 512 "${given[@]}" --source de --target en --output "$runs/bahdanau2015" --resume

# the minutes are those of the last training, with what its model has come from not counted
printf '| direction | model | minutes | BLEU, sacreBLEU 13a, cased | BLEU, lowercase Moses tokens |\n| --- | --- | --- | --- | --- |\n' >"$table.part"
score de en none "no attention" beam
score de en cho2014 "Cho et al. 2014, half sizes, Adam" beam
score de en bahdanau2015 "Bahdanau et al. 2015, half sizes, Adam" beam
score en de en-de-few "of the first 11,600 pairs" beam
score en de en-de.work/teacher-1 "a teacher" beam
score de en en-de.work/reverse "a teacher" beam
score en fr en-fr.work/teacher-1 "a teacher" beam
for pair in "en de" "de en" "en fr"; do
    read -r source target <<<"$pair"
    score "$source" "$target" "$source-$target" distilled beam
    score "$source" "$target" "$source-$target" distilled mbr --mbr --beam-size 16
done
mv "$table.part" "$table"
cat "$table"

"$python" "$root/scripts/bench/lengths.py" --models "$runs"/{cho2014,bahdanau2015,de-en} --data "$data" \
    --names "Cho et al. 2014" "Bahdanau et al. 2015" "this recipe, distilled" --picture "$runs/lengths.png" |
    tee "$runs/lengths.md"
"$python" "$root/scripts/bench/ablation.py" --config "$root/configs/multi30k.yaml" --data "$data" --source en \
    --target de --runs "$runs/ablation" | tee "$runs/ablation.md"
