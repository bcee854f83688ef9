#!/usr/bin/env bash
# Two machines in network namespaces of this one, with a link of 100 Mbit/s and 20 ms there and back, and what sums cost between them:
# bench/mpi/netns.sh [RATE, default 100mbit] [DELAY one way, default 10ms]. Needs root, iproute2 and Open MPI; no ssh.
set -euo pipefail
cd "$(dirname "$0")/../.."
rate=${1:-100mbit}
delay=${2:-10ms}
agent=$(mktemp)
cleanup() { rm -f "$agent"; ip netns del openelm-a 2>/dev/null || true; ip netns del openelm-b 2>/dev/null || true; }
trap cleanup EXIT
ip netns add openelm-a
ip netns add openelm-b
ip link add openelm-va type veth peer name openelm-vb
ip link set openelm-va netns openelm-a
ip link set openelm-vb netns openelm-b
for side in a b; do
  ip -n openelm-$side link set lo up
  ip -n openelm-$side addr add "10.77.0.$([ $side = a ] && echo 1 || echo 2)/24" dev openelm-v$side
  ip -n openelm-$side link set openelm-v$side up
  tc="ip netns exec openelm-$side tc qdisc add dev openelm-v$side root"
  $tc netem rate "$rate" delay "$delay" 2>/dev/null || {
    $tc tbf rate "$rate" burst 256kb latency 400ms
    [ $side = b ] || echo "this kernel has no netem: $rate, but no delay" >&2
  }
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
  --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 --wdir $PWD ${program[*]}"
