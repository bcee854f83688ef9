#!/usr/bin/env bash
# Two ranks on this machine, a thread each: the tiny model of recipes/tiny.sh for a few steps. Where no MPI is installed it says so
# and ends with 0. `recipes/cluster/local.sh RANKS ARGUMENTS...` trains on more, or with other settings.
set -euo pipefail
cd "$(dirname "$0")/../.."
ranks=${1:-2}
shift || true
if ! command -v mpirun >/dev/null; then
  echo "SKIPPED: no mpirun here (apt-get install openmpi-bin, or mpich)" >&2
  exit 0
fi
openelm=${OPENELM:-node dist/app/cli.js}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags=()
if mpirun --version | grep -qE 'Open MPI|PRRTE'; then
  flags+=(--oversubscribe)
  if [ "$(id -u)" = 0 ]; then flags+=(--allow-run-as-root); fi
fi
export OPENELM_THREADS=${OPENELM_THREADS:-1}
mpirun "${flags[@]}" -n "$ranks" $openelm pretrain recipes/tiny.yaml --data.tokenizer models/tales-6m/tokenizer.model \
  --out "$out/run" --steps 10 --learning_rate.warmup_steps 2 --batch_size $((4 * ranks)) --validation.every 10 "$@"
