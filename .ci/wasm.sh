#!/usr/bin/env bash
# The WASM kernels that this Node may not have (relaxed SIMD begins with 22): the same suite under a newer one from npm.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(node -p 'process.versions.node.split(".")[0] >= 22')" = true ]; then
  echo "SKIPPED: npm test has run them, on Node $(node -v)"
  exit 0
fi
npm exec --yes --package=node@24 -- node node_modules/vitest/vitest.mjs run test/backends/native.conformance.test.ts test/backends/wasm.test.ts -t wasm
