#!/usr/bin/env bash
# Losses at equal tokens from one model that has begun to learn: one process, 4 ranks with every step summed, and 4 ranks that exchange
# every 50 and every 200 steps (DiLoCo), as a table, and a picture in the directory of the runs:
# bench/mpi/diloco.sh [STEPS, default 2000; a multiple of 200] [DIRECTORY, default runs/diloco] [OPTIONS of pretrain].
set -euo pipefail
cd "$(dirname "$0")/../.."
steps=${1:-2000}
place=${2:-runs/diloco}
mkdir -p "$place"
export OPENELM_THREADS=1
train=(node dist/app/cli.js pretrain recipes/tiny.yaml --data.tokenizer models/tales-6m/tokenizer.model --batch_size 8 --data.sequence_length 64)
train+=(--samples.every 1000000 --checkpoints.every 1000000 "${@:3}")
ranks=(mpirun --oversubscribe)
if [ "$(id -u)" = 0 ]; then ranks+=(--allow-run-as-root); fi
ranks+=(-n 4)
"${train[@]}" --steps 200 --validation.every 200 --out "$place/begun" >/dev/null
train+=(--init_from "$place/begun/step-00000200" --steps "$steps" --parallel.shards 4 --learning_rate.warmup_steps 20 --validation.every 200 --out)
"${train[@]}" "$place/one" >/dev/null
"${ranks[@]}" "${train[@]}" "$place/summed" >/dev/null
for every in 50 200; do "${ranks[@]}" "${train[@]}" "$place/every-$every" --sync "{every: $every}" >/dev/null; done
node dist/app/cli.js plot "$place"/{one,summed,every-50,every-200} --out "$place/losses.svg" >/dev/null
echo '| | loss | bytes that a rank sends |'
echo '|---|---|---|'
for run in one summed every-50 every-200; do
  loss=$(grep '"validation"' "$place/$run/log.jsonl" | tail -1 | grep -o '"loss":[0-9.]*' | cut -d: -f2)
  sent=$(grep -o '"sentBytes":[0-9]*' "$place/$run/log.jsonl" | tail -1 | cut -d: -f2 || true)
  printf '| %s | %.3f | %s |\n' "$run" "$loss" "$(numfmt --to=si "${sent:-0}")"
done
