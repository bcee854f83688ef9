#!/usr/bin/env bash
# Builds the addon in a copy of the project with -fsanitize=address,undefined, and runs check.cc and the conformance suite with it,
# for every instruction set of this machine. Some minutes; it leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

cxx=${CXX:-c++}
runtime=$("$cxx" -print-file-name=libasan.so)
if [ ! -e "$runtime" ]; then
  echo "skipped: $cxx has no address sanitizer that a program can be started with"
  exit 0
fi
git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$copy"
ln -s "$PWD/node_modules" "$copy/node_modules"
cd "$copy"

export CXXFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1"
export LDFLAGS="-fsanitize=address,undefined"
OPENELM_BUILD=1 node native/install.mjs
ls native/build/Release/openelm.node >/dev/null

libraries=(native/build/Release/kernels_*.a)
# shellcheck disable=SC2086
"$cxx" -std=c++17 -O1 $CXXFLAGS -Inative native/test/check.cc native/cpu.cc "${libraries[@]}" "${libraries[@]}" -o native/build/check
native/build/check "$@"

# Node itself is not built with it, so leaks cannot be told.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
LD_PRELOAD="$runtime" npx vitest run test/backends/native.conformance.test.ts
