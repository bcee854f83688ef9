#!/bin/sh
# Layer-wise scaling against layers of one width: the same parameters to the last one, documents, order and steps, three seeds.
# Usage: recipes/ablation/run.sh [DIRECTORY]; started again, it goes on. Stories and tokenizer: as models/tales-6m/README.md says.
set -eu
recipes=$(cd "$(dirname "$0")" && pwd)
out=${1:-runs/ablation}
tsx="file://$recipes/../../node_modules/tsx/dist/loader.mjs"
train() {
  seed=$1 name=$2
  shift 2
  node --import "$tsx" "$recipes/../../src/app/cli.ts" pretrain "$recipes/scaled.yaml" --resume \
    --seed "$seed" --data.random_seed "$seed" --out "$out/$name-$seed" "$@"
}

for seed in 1 2 3; do
  train $seed scaled
  train $seed uniform --model.qkv_multipliers 0.75 --model.ffn_multipliers 2.3125
done
node --import "$tsx" "$recipes/../../tools/ablation-report.ts" "$out" "$out/ablation"
