#!/usr/bin/env bash
# Peak memory of each of two ranks that train the 270M (random weights, rows of 64 tokens, activations computed again), by what is shared
# out: bench/mpi/memory.sh [MODEL, default OpenELM-270M] [STEPS, default 2]. Takes some 9 GB of memory and 4 GB of disk, one run after another.
set -euo pipefail
cd "$(dirname "$0")/../.."
model=${1:-OpenELM-270M}
steps=${2:-2}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export OPENELM_THREADS=1
ranks=(mpirun --oversubscribe)
if [ "$(id -u)" = 0 ]; then ranks+=(--allow-run-as-root); fi
tell='process.on("exit",()=>process._rawDebug("rank "+process.env.OMPI_COMM_WORLD_RANK+": "+(process.resourceUsage().maxRSS*1024/1e9).toFixed(3)+" GB"))'
for settings in '' '--parallel.zero 1' '--parallel.gradients bf16' '--parallel.zero 1 --parallel.gradients bf16'; do
  echo "${settings:-plain}"
  "${ranks[@]}" -n 2 node --import "data:text/javascript,$tell" dist/app/cli.js pretrain recipes/tiny.yaml --model "{name: $model, vocab_size: 32128}" \
    --data.tokenizer models/tales-6m/tokenizer.model --data.sequence_length 64 --batch_size 2 --steps "$steps" --activation_checkpointing true \
    --learning_rate.warmup_steps 1 --validation.every 1000000 --samples.every 1000000 --out "$place/run" $settings >/dev/null
  rm -rf "$place/run"
done
