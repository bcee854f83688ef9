#!/usr/bin/env bash
# Kills a random rank at a random moment and goes on, again and again, then holds the end against a run that nobody disturbed:
# test/mpi/kills.sh [KILLS, default 40] [RANKS, default 2]. Prints what happened; ends with 1 unless all bits are the same.
set -euo pipefail
cd "$(dirname "$0")/../.."
kills=${1:-40}
ranks=${2:-2}
if ! command -v mpirun.openmpi >/dev/null; then
  echo "SKIPPED: no mpirun.openmpi here" >&2
  exit 0
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export OPENELM_THREADS=1
steps=$((60 * kills))
command=(mpirun.openmpi --oversubscribe)
if [ "$(id -u)" = 0 ]; then command+=(--allow-run-as-root); fi
command+=(-n "$ranks" node dist/app/cli.js pretrain recipes/tiny.yaml --data.tokenizer models/tales-6m/tokenizer.model --steps "$steps")
command+=(--batch_size "$((2 * ranks))" --data.sequence_length 32 --learning_rate.warmup_steps 5 --parallel.zero 1)
command+=(--checkpoints.every 5 --checkpoints.keep 2 --validation.every 1000000 --samples.every 1000000 --out)
"${command[@]}" "$place/whole" >/dev/null
done_kills=0
while [ "$done_kills" -lt "$kills" ]; do
  "${command[@]}" "$place/killed" --resume >"$place/out" 2>"$place/err" &
  mpirun=$!
  while kill -0 "$mpirun" 2>/dev/null && ! grep -q 'step ' "$place/out"; do sleep 0.1; done
  sleep "$((RANDOM % 4)).$((RANDOM % 1000))"
  victim=$((RANDOM % ranks))
  for pid in $(pgrep -P "$mpirun" || true); do
    if tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$victim"; then
      kill -KILL "$pid" && began=$(date +%s%3N) && done_kills=$((done_kills + 1))
      wait "$mpirun" || true
      took=$(($(date +%s%3N) - began))
      echo "kill $done_kills: rank $victim, all ended after $took ms: $(grep -c '^openelm: rank' "$place/err" || true) sentence(s)"
      [ "$took" -lt 10000 ] || { echo "too late" >&2; exit 1; }
      continue 2
    fi
  done
  if ! kill -0 "$mpirun" 2>/dev/null; then break; fi   # it came to the end
  kill "$mpirun" && wait "$mpirun" || true   # the ranks were not up yet
done
"${command[@]}" "$place/killed" --resume >/dev/null
last=$(printf 'step-%08d' "$steps")
for file in "$place/whole/$last"/*.safetensors; do cmp "$file" "$place/killed/$last/$(basename "$file")"; done
echo "$done_kills kills, and the same bits at the end"
