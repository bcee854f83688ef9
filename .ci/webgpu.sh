#!/usr/bin/env bash
# The WebGPU backend in Node, on the GPU that there is or on one in software: conformance, random shapes, the embedded model against native kernels, golden
# numbers, and how processes end. Said and passed over where there is neither.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! node -e "import.meta.resolve('webgpu')" --input-type=module 2>/dev/null; then # npm installs no optional peer where it is the project's own
  archive=$(npm pack --silent --pack-destination node_modules webgpu@0.6.2) && mkdir -p node_modules/webgpu &&
    tar -xzf "node_modules/$archive" -C node_modules/webgpu --strip-components 1 || echo "webgpu cannot be fetched"
  rm -f node_modules/webgpu-*.tgz
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v chromium >/dev/null; then
  apt-get install -y -qq chromium libvulkan1 >/dev/null || true # for SwiftShader, and the loader
fi
if ! environment=$(.ci/software-gpu.sh); then
  echo "SKIPPED: no GPU, and no software for one could be installed"
  exit 0
fi
eval "$environment"
npx tsx src/app/cli.ts info 2>/dev/null | grep '^gpu'
npx vitest run test/backends/webgpu test/train/webgpu
# Without subgroups: the ops that make sums together. Software compiles shaders for minutes; what both runs have, it keeps.
OPENELM_GPU_SUBGROUPS=0 npx vitest run test/backends/webgpu/backend.test.ts \
  -t 'conformance (linear: .* (1 x 1280|5) x|attention|argmax|crossEntropy|doraFactors|globalNorm|preferenceLoss|qkNormRope|rmsNorm|tokenLogprob)'
npx vitest run --config test/webgpu/vitest.config.ts
npm run -s golden -- test/golden/{dpo,eval,generate,models,peft,train} --backend webgpu
if npx tsx src/app/cli.ts info --json 2>/dev/null | grep -q shader-f16; then
  npm run -s golden -- test/golden/models --backend webgpu:f16
fi
if swiftshader=$(.ci/software-gpu.sh swiftshader); then # subgroups of 4 and no f16, where lavapipe has 8 and f16
  (eval "$swiftshader" && unset LD_LIBRARY_PATH && npx vitest run test/backends/webgpu/{models,subgroups}.test.ts -t 'same ids|together')
fi
