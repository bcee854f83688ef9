#!/bin/sh
# From raw text to a tokenizer, a trained model, a picture of its curves and generated text, in under a minute on two cores.
# Usage: recipes/tiny.sh [DIRECTORY [--key value ...]]; the directory (default runs/tiny) must not hold an earlier run.
set -eu
recipes=$(cd "$(dirname "$0")" && pwd)
out=${1:-runs/tiny}
[ $# -gt 0 ] && shift
. "$recipes/openelm.sh"

mkdir -p "$out"
openelm tokenizer train "$recipes/data/tales.txt" --separator '<|endoftext|>' --vocab-size 1024 --out "$out/tokenizer.model"
openelm pretrain "$recipes/tiny.yaml" --data.tokenizer "$out/tokenizer.model" --out "$out/run" "$@"
openelm plot "$out/run" --out "$out/curves.svg"
openelm average "$out/run" --last 3 --out "$out/model"
openelm run -m "$out/model" 'There was once a king' --echo --max-tokens 100 --temperature 0.7 --seed 1
