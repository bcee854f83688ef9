#!/usr/bin/env bash
# Two machines in network namespaces of this one, with a link of 100 Mbit/s and 20 ms there and back, and what sums cost between them:
# bench/mpi/netns.sh [BITS A SECOND, default 100e6] [SECONDS OF DELAY one way, default 0.010] [COMMAND of each rank].
# Needs root, iproute2, a C compiler and Open MPI; no ssh. bench/mpi/wire.c is the link.
set -euo pipefail
cd "$(dirname "$0")/../.."
rate=${1:-100e6}
delay=${2:-0.010}
made=$(mktemp -d)
agent=$made/agent
cleanup() {
  kill "${wire:-}" 2>/dev/null || true
  rm -rf "$made"
  ip netns del openelm-a 2>/dev/null || true
  ip netns del openelm-b 2>/dev/null || true
}
trap cleanup EXIT
cc -O2 -o "$made/wire" bench/mpi/wire.c
ip netns add openelm-a
ip netns add openelm-b
"$made/wire" openelm-a wire openelm-b wire "$rate" "$delay" >"$made/said" &
wire=$!
until grep -q ready "$made/said"; do
  kill -0 $wire
  sleep 0.1
done
for side in a b; do
  own=10.77.0.1 other=10.77.0.2
  [ $side = a ] || { own=10.77.0.2 other=10.77.0.1; }
  ip -n openelm-$side link set lo up
  ip -n openelm-$side addr add $own peer $other dev wire
  ip -n openelm-$side link set wire txqueuelen 1000 up
done
# What mpirun takes for ssh: the command, in the namespace of that address.
cat >"$agent" <<'AGENT'
#!/bin/bash
while [[ "$1" == -* ]]; do shift; done
host=$1
shift
exec ip netns exec "openelm-$([ "$host" = 10.77.0.1 ] && echo a || echo b)" unshare --uts bash -c "hostname node-$host; $*"
AGENT
chmod +x "$agent"
shift $(($# < 2 ? $# : 2))
program=("$@")
[ ${#program[@]} -gt 0 ] || program=(node --import tsx bench/mpi/allreduce.ts 250000 2500000)
ip netns exec openelm-a unshare --uts bash -c "hostname node-10.77.0.1; exec mpirun.openmpi --allow-run-as-root --oversubscribe \
  -H 10.77.0.1:1,10.77.0.2:1 -n 2 --mca plm rsh --mca plm_rsh_agent $agent --mca btl self,tcp \
  --mca btl_tcp_if_include wire --mca oob_tcp_if_include wire --wdir $PWD ${program[*]}"
