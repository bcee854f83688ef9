#!/bin/sh
# The embedded model learns answers, then preferences, then from its own answers, each in seconds on two cores; then it answers.
# Usage: recipes/tune-tiny.sh [DIRECTORY [--key value ...]]; the directory (default runs/tune-tiny) must not hold an earlier run.
set -eu
recipes=$(cd "$(dirname "$0")" && pwd)
out=${1:-runs/tune-tiny}
[ $# -gt 0 ] && shift
. "$recipes/openelm.sh"
last() { ls -d "$1"/step-* | tail -n 1; }

openelm tune "$recipes/tune-tiny/sft.yaml" --out "$out/sft" "$@"
openelm tune "$recipes/tune-tiny/dpo.yaml" --model "$(last "$out/sft")" --out "$out/dpo" "$@"
openelm tune "$recipes/tune-tiny/rso.yaml" --model "$(last "$out/dpo")" --out "$out/rso" "$@"
openelm plot "$out/dpo" --out "$out/dpo.svg"
echo 'How does the tale "Rapunzel" begin?' | openelm chat -m "$(last "$out/rso")" --max-tokens 48 --seed 1
