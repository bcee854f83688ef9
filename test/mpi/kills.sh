#!/usr/bin/env bash
# Kills a random rank at a random moment and goes on, again and again, then holds the end against a run that nobody disturbed:
# test/mpi/kills.sh [KILLS, default 40] [RANKS, default 2] [OPTIONS of pretrain...]. Prints what happened; ends with 1 unless every kill was
# told once, by the right name, within 10 s, and all bits are the same.
set -euo pipefail
cd "$(dirname "$0")/../.."
kills=${1:-40}
ranks=${2:-2}
shift $(($# < 2 ? $# : 2))
if ! command -v mpirun.openmpi >/dev/null; then
  echo "SKIPPED: no mpirun.openmpi here" >&2
  exit 0
fi
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export OPENELM_THREADS=1
command=(mpirun.openmpi --oversubscribe)
if [ "$(id -u)" = 0 ]; then command+=(--allow-run-as-root); fi
command+=(-n "$ranks" node dist/app/cli.js pretrain recipes/tiny.yaml --data.tokenizer models/tales-6m/tokenizer.model)
command+=(--batch_size "$((2 * ranks))" --data.sequence_length 32 --learning_rate "{max: 1e-3, schedule: constant, warmup_steps: 5}" --parallel.zero 1)
command+=(--checkpoints.every 5 --checkpoints.keep 2 --validation.every 1000000 --samples.every 1000000 "$@" --out)
done_kills=0
logged() { grep -c '"type":"step"' "$place/killed/log.jsonl" 2>/dev/null || true; }
while [ "$done_kills" -lt "$kills" ]; do
  before=$(logged)
  "${command[@]}" "$place/killed" --resume --steps 1000000 >/dev/null 2>"$place/err" &
  mpirun=$!
  after=$((RANDOM % 20))
  while kill -0 "$mpirun" 2>/dev/null && [ "$(($(logged) - ${before:-0}))" -le "$after" ]; do sleep 0.1; done
  sleep "0.$((RANDOM % 1000))"
  victim=$((RANDOM % ranks))
  for pid in $(pgrep -P "$mpirun" || true); do
    if grep -qzx "OMPI_COMM_WORLD_RANK=$victim" "/proc/$pid/environ" 2>/dev/null; then
      kill -KILL "$pid" && began=$(date +%s%3N) && done_kills=$((done_kills + 1))
      wait "$mpirun" || true
      took=$(($(date +%s%3N) - began))
      sentences=$(grep "^openelm: " "$place/err" | grep -vc "starting at the beginning" || true)
      echo "kill $done_kills: rank $victim, all ended after $took ms: $sentences sentence(s)"
      [ "$took" -lt 10000 ] || { echo "too late" >&2; exit 1; }
      if [ "$sentences" != 1 ] || ! grep -q "^openelm: rank $victim of $ranks .*, process $pid, is gone" "$place/err"; then
        cat "$place/err" >&2
        exit 1
      fi
      continue 2
    fi
  done
  echo "no rank $victim was found to be killed:" >&2
  kill "$mpirun" 2>/dev/null || true
  cat "$place/err" >&2
  exit 1
done
# To the end of what was killed, some steps on, and not all the way twice; the schedule is the same whatever the number of steps.
reached=$(ls "$place/killed" | sed -n 's/^step-0*\([0-9]*\)$/\1/p' | sort -n | tail -1)
steps=$((reached + 7))
last=$(printf 'step-%08d' "$steps")
"${command[@]}" "$place/killed" --resume --steps "$steps" >/dev/null
"${command[@]}" "$place/whole" --steps "$steps" >/dev/null
for file in "$place/whole/$last"/*.safetensors; do cmp "$file" "$place/killed/$last/$(basename "$file")"; done
echo "$done_kills kills, and the same bits after $steps steps"
