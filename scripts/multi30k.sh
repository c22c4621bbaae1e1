#!/usr/bin/env bash
# From raw text to README's table of Multi30k. What is done is not done again: the same command goes on after any stop.
#
#   scripts/multi30k.sh DATA [RUNS] [PYTHON]
#
# DATA holds train, valid and test in .en, .de and .fr; RUNS (runs/multi30k) takes the models and table.md. For en → de,
# de → en and en → fr three models each learn from the pairs alone, which differ in their seed. Together they translate
# the training text, a model of the other direction translates its other side, and one model learns from all of this.
# Eleven short trainings, of 17 to 25 minutes of one thread each, and three of an hour; two at a time take least, so
# where there are two cores the script starts those of two directions side by side with OPTIONS="--threads 1". Needs
# `pip install sacremoses` for the second score. OPTIONS in the environment are added to every training (no --seed).
set -euo pipefail

data=${1:?usage: scripts/multi30k.sh DATA [RUNS] [PYTHON]}
runs=${2:-runs/multi30k}
python=${3:-python}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
table=$runs/table.md
# for as short a training, and for so many pairs, two thirds of the dropout that the configuration has
less=(--dropout-embedding 0.2 --dropout 0.3 --dropout-readout 0.3 --word-dropout 0.05)

# train SOURCE TARGET NAME FOLDER OPTION...: a model in $runs/SOURCE-TARGET-NAME
train() {
    local options
    read -r -a options <<<"${OPTIONS:-}"
    "$python" -m seq2seq train --config "$root/configs/multi30k.yaml" --data "$4" --source "$1" --target "$2" \
        --output "$runs/$1-$2-$3" --resume ${options[@]+"${options[@]}"} "${@:5}"
}

# score SOURCE TARGET NAME LABEL OPTION...: adds a line to the table
score() {
    local model=$runs/$1-$2-$3 found=$runs/$1-$2-$3/test-$4 moses
    [[ -e $found.json && $found.json -nt $model/model.safetensors ]] ||
        "$python" -m seq2seq evaluate --model "$model" --data "$data" --split test --format json \
            --save-translations "$found.$2" --output "$found.json" "${@:5}"
    moses=$("$python" "$root/scripts/bench/moses_bleu.py" "$2" "$found.$2" "$data/test.$2" | cut -d' ' -f1)
    "$python" - "$model" "$found.json" "$1 → $2" "$3, $4" "$moses" >>"$table.part" <<'END'
import json, sys
model, found, direction, name, moses = sys.argv[1:]
lines = [json.loads(line) for line in open(f"{model}/metrics.jsonl", encoding="utf-8")]
bleu = next(metric for metric in json.load(open(found, encoding="utf-8"))["metrics"] if metric["name"] == "BLEU")
print(f"| {direction} | {name} | {lines[-1]['seconds'] / 60:.0f} | {bleu['score']:.2f} | {moses} |")
END
}

# both TASK TASK: two commands, side by side where OPTIONS ask for one thread each
both() {
    local other failed=0
    if [[ " ${OPTIONS:-} " == *" --threads 1 "* ]]; then
        eval "$1" &
        other=$!
        eval "$2" || failed=1
        wait "$other" || failed=1
        return "$failed"
    fi
    eval "$1"
    eval "$2"
}

# base SOURCE TARGET SEED: learns from the pairs alone
base() { train "$1" "$2" "$3" "$data" --max-epochs 16 --seed "$3" "${less[@]}"; }

# more SOURCE TARGET: a folder with the pairs and what three models make of the sources, and one of the targets
more() {
    local folder=$runs/more/$1-$2 models=("$runs/$1-$2-1" "$runs/$1-$2-2" "$runs/$1-$2-3" "$runs/$2-$1-1") model
    for model in "${models[@]}"; do
        [[ $folder/diversify.json -nt $model/model.safetensors ]] && continue
        "$python" -m seq2seq diversify --data "$data" --source "$1" --target "$2" --output "$folder" \
            --forward "${models[0]}" --forward "${models[1]}" --forward "${models[2]}" --backward "${models[3]}" \
            --beam-size 8 --n-best 8 --closest
        return
    done
}

# distilled SOURCE TARGET: learns from that folder, from where the first model stands
distilled() {
    train "$1" "$2" distilled "$runs/more/$1-$2" --initial-model "$runs/$1-$2-1" --learning-rate 0.001 --max-epochs 7 \
        --validate-every 768 "${less[@]}"
}

# none: one fixed vector, of de → en
none() { train de en none "$data" --attention none --max-epochs 24; }

mkdir -p "$runs"
for seed in 1 2 3; do
    both "base en de $seed" "base de en $seed"
done
both "base en fr 1" "base fr en 1"
both "base en fr 2" "base en fr 3"
more en de
more de en
both "distilled en de" "distilled de en"
more en fr
both "distilled en fr" none

# the minutes are those of the last training, with what its model has come from not counted
printf '| direction | model | minutes | BLEU, sacreBLEU 13a, cased | BLEU, lowercase Moses tokens |\n| --- | --- | --- | --- | --- |\n' >"$table.part"
score de en none beam
for pair in "en de" "de en" "en fr"; do
    read -r source target <<<"$pair"
    score "$source" "$target" 1 beam
    score "$source" "$target" distilled beam
    score "$source" "$target" distilled mbr --mbr --beam-size 16
done
mv "$table.part" "$table"
cat "$table"
