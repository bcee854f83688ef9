#!/usr/bin/env bash
# Builds the addon in a copy of the project with -fsanitize=address,undefined, and runs check.cc and the conformance suite with it,
# for every instruction set of this machine. Some minutes; it leaves nothing behind. --quick: check.cc alone, the quick part of it,
# with the plain kernels, cut twice where AVX-512's are (strassen.h), and AVX2's.
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
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1"
if [ "${1:-}" = --quick ]; then
  isas=(plain)
  if grep -qw avx2 /proc/cpuinfo 2>/dev/null; then isas+=(avx2); fi
  printf '#include "cpu.h"\nstd::vector<const openelm::KernelTable*> openelm::kernels_of_this_cpu() { return {%s}; }\n' \
    "$(printf 'kernels_%s(), ' "${isas[@]}")" >"$copy/cpu.cc"
  compile() {   # object, source, options
    # shellcheck disable=SC2086
    "$cxx" -std=c++17 -O1 $sanitizers -ffp-contract=off -fno-math-errno -w -Inative "${@:3}" -c "$2" -o "$copy/$1.o"
  }
  export -f compile
  export cxx sanitizers copy
  for isa in "${isas[@]}"; do
    options=(-DOPENELM_ISA="$isa")
    if [ "$isa" = avx2 ]; then options+=(-mavx2 -mfma -mf16c); else options+=(-DOPENELM_TWO_LEVELS); fi
    for source in native/kernels/*.cc; do printf '%s\0' "$isa-$(basename "$source")" "$source" "${options[*]}"; done
  done | xargs -0 -n 3 -P "$(nproc)" bash -c 'compile "$0" "$1" $2'
  compile check native/test/check.cc
  compile cpu "$copy/cpu.cc"
  # shellcheck disable=SC2086
  "$cxx" $sanitizers "$copy"/*.o -o "$copy/check"
  "$copy/check" --quick
  exit 0
fi
git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$copy"
ln -s "$PWD/node_modules" "$copy/node_modules"
cd "$copy"

export CXXFLAGS=$sanitizers
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
LD_PRELOAD="$runtime" npx vitest run test/backends/native.test.ts -t encodes
