#!/usr/bin/env bash
# openelm/browser as pages get it: the packed package under Vite, webpack and Next.js, which build its examples, and as plain files of another
# origin, each in Chromium. Needs the npm registry and about two minutes; said and passed over where there is none, or no Chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v chromium >/dev/null; then
  apt-get install -y -qq chromium >/dev/null || true
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! npm view vite version >/dev/null 2>&1; then
  echo "SKIPPED: bundlers, as there is no npm registry"
  exit 0
fi
npm pack --silent --pack-destination "$work" >/dev/null
export NEXT_TELEMETRY_DISABLED=1

# install EXAMPLE: with the packed package, and the model where its pages look for it.
install() {
  cp -r "examples/$1" "$work/$1"
  (cd "$work/$1" && npm install --silent --no-audit --no-fund --ignore-scripts "$work"/openelm-*.tgz && npm run --silent model)
}
install browser
install browser-next
cd "$work/browser"
npm run --silent vite -- --logLevel warn --outDir dist-vite
npm run --silent webpack
mkdir prompt
sed '/importmap/,/<\/script>/d' prompt-api.html >prompt/index.html
node_modules/.bin/vite build prompt --base ./ --logLevel warn --outDir ../dist-prompt --emptyOutDir
(cd ../browser-next && npm run --silent build >said || { cat said; exit 1; })
cd "$root"
npx tsx test/browser/bundlers.ts "cdn=$work/browser/node_modules/openelm:examples/browser" "vite=$work/browser/dist-vite" \
  "webpack=$work/browser/dist" "prompt=$work/browser/dist-prompt" "next=$work/browser-next/out" "development=$work/browser"
