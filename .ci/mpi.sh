#!/usr/bin/env bash
# Training and evaluation on several processes, under Open MPI and MPICH where they are installed (as root they are installed here).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v mpirun >/dev/null; then
  apt-get install -y -qq openmpi-bin libopenmpi3 mpich >/dev/null || true   # the tests say what they miss
fi
npx vitest run --config test/mpi/vitest.config.ts
