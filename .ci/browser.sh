#!/usr/bin/env bash
# openelm/browser in Chromium: said and passed over where there is none and none can be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v chromium >/dev/null; then
  apt-get install -y -qq chromium >/dev/null || true
fi
npm run compile
npm run browser
