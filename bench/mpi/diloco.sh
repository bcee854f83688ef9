#!/usr/bin/env bash
# Losses at equal tokens: one process, 4 ranks with every step summed, and 4 ranks that exchange every 50 and every 200 steps (DiLoCo).
# bench/mpi/diloco.sh [STEPS, default 2000] [DIRECTORY for the runs] prints the last validation losses; `openelm plot` draws the runs.
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=${1:-2000}
place=${2:-runs/diloco}
mkdir -p "$place"
export OPENELM_THREADS=1
train=(node dist/app/cli.js pretrain recipes/tiny.yaml --data.tokenizer models/tales-6m/tokenizer.model --steps "$steps" --parallel.shards 4)
train+=(--batch_size 8 --data.sequence_length 64 --validation.every 200 --samples.every 1000000 --checkpoints.every 1000000 --out)
ranks=(mpirun --oversubscribe)
if [ "$(id -u)" = 0 ]; then ranks+=(--allow-run-as-root); fi
ranks+=(-n 4)
"${train[@]}" "$place/one" >/dev/null
"${ranks[@]}" "${train[@]}" "$place/summed" >/dev/null
for every in 50 200; do "${ranks[@]}" "${train[@]}" "$place/every-$every" --sync "{every: $every}" >/dev/null; done
for run in one summed every-50 every-200; do
  printf '%-10s %s\n' "$run" "$(grep '"validation"' "$place/$run/log.jsonl" | tail -1)"
done
