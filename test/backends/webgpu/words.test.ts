// No shader names a thing by a word that WGSL keeps for later: with no GPU here nobody else would say so.

import { expect, it } from 'vitest';
import { common, shaders } from '../../../src/backends/webgpu/wgsl.js';

/** https://www.w3.org/TR/WGSL/#reserved-words */
const reserved = new Set(
  `NULL Self abstract active alignas alignof as asm asm_fragment async attribute auto await become cast catch class co_await co_return
  co_yield coherent column_major common compile compile_fragment concept const_cast consteval constexpr constinit crate debugger decltype
  delete demote demote_to_helper do dynamic_cast enum explicit export extends extern external fallthrough filter final finally friend from
  fxgroup get goto groupshared highp impl implements import inline instanceof interface layout lowp macro macro_rules match mediump meta
  mod module move mut mutable namespace new nil noexcept noinline nointerpolation non_coherent noncoherent noperspective null nullptr of
  operator package packoffset partial pass patch pixelfragment precise precision premerge priv protected pub public readonly ref regardless
  register reinterpret_cast require resource restrict self set shared sizeof smooth snorm static static_assert static_cast std subroutine
  super target template this thread_local throw trait try type typedef typeid typename typeof union unless unorm unsafe unsized use using
  varying virtual volatile wgsl where with writeonly yield`.split(/\s+/),
);

it('declares nothing under a reserved word', () => {
  let declared = 0;
  const wrong = Object.entries({ common, ...shaders }).flatMap(([shader, text]) => {
    const names = [...text.matchAll(/\b(?:let|var(?:<\w+>)?|const|override|fn|struct|alias)\s+(\w+)|\b(\w+)\s*:/g)].map(
      (m) => m[1] ?? m[2],
    );
    declared += names.length;
    return names.filter((name) => reserved.has(name)).map((name) => `${name} in ${shader}`);
  });
  expect(declared).toBeGreaterThan(500);
  expect(wrong).toEqual([]);
});
