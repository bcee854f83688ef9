#!/usr/bin/env bash
# openelm/browser in Firefox and in WebKitGTK, Safari's engine: each is said and passed over where it is not, and cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  for package in firefox-esr libwebkit2gtk-4.1-0 xvfb; do
    dpkg -s "$package" >/dev/null 2>&1 || apt-get install -y -qq --no-install-recommends "$package" >/dev/null || true
  done
fi
npm run compile
npm run engines
