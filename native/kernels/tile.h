// The one multiply-add tile of the f32 kernels: rows of `a` times panels of `b`, the products kept in registers. Linear layers
// feed it packed rows, attention its scores. Not for int8.
#pragma once
#include "simd.h"

namespace openelm::OPENELM_ISA {

// Rows and panels of a full tile, and vectors of each panel: as many accumulators as there are registers for. WebAssembly has
// sixteen of four, as engines compile it for x86: higher and narrower, a tile needs fewer loads.
#if defined(__AVX512F__)
constexpr int kTileRows = 12, kTilePanels = 2, kTileVectors = NV;
#elif defined(__AVX2__) || defined(__aarch64__)
constexpr int kTileRows = 6, kTilePanels = 1, kTileVectors = NV;
#elif defined(__wasm_relaxed_simd__)
constexpr int kTileRows = 6, kTilePanels = 1, kTileVectors = 2;
#elif defined(__wasm_simd128__)
constexpr int kTileRows = 4, kTilePanels = 1, kTileVectors = 2;   // a product that is not fused needs a register
#else
constexpr int kTileRows = 2, kTilePanels = 1, kTileVectors = NV;
#endif

// Keeps a sum where it is made. Clang has its own order for WebAssembly, and engines, which take instructions as they come, then
// lack a register: a sum that waits in memory halves the speed.
INLINE void in_order() {
#if defined(__wasm__)
  asm volatile("" ::: "memory");
#endif
}

// Where a block of products goes: c = (add ? c : 0) + products (+ residual, which has c's row stride).
struct TileOut {
  float* c;
  int64_t stride;
  const float* residual;
  bool add;
};

// Memory that will be read after a block: fetched meanwhile, `step` bytes for each k from each panel.
struct Ahead {
  const char* from;
  int64_t panel, step;
};

// a[r * RS + k * KS] for R rows; b: kTileVectors of B panels [k][16], bs floats apart. A function of its own: inlined into the
// blocking loops, GCC shuffles registers.
template <int R, int B, int KS, int RS>
NOINLINE void tile(int64_t k, const float* __restrict a, const float* __restrict b, int64_t bs, TileOut out, Ahead ahead) {
  constexpr int C = B * kTileVectors;
  vf acc[R][C];
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < B; j++) {
      __builtin_prefetch(out.c + r * out.stride + j * kPanel, 1);
      if (out.residual) __builtin_prefetch(out.residual + r * out.stride + j * kPanel);
    }
    UNROLL
    for (int j = 0; j < C; j++) acc[r][j] = (vf){};
  }
  for (int64_t i = 0; i < k; i++, a += KS, b += kPanel) {
#if !defined(__wasm__)
    UNROLL
    for (int j = 0; j < B; j++) __builtin_prefetch(ahead.from + j * ahead.panel, 0, 2);
    ahead.from += ahead.step;
#endif
    if (KS == kPanel) __builtin_prefetch(a + 16 * KS);
    vf w[C];
    UNROLL
    for (int j = 0; j < C; j++) w[j] = load(b + j / kTileVectors * bs + j % kTileVectors * W);
#if defined(OPENELM_NEON)
    vf rows[R];   // a product takes its row from a lane: side by side, one load brings several
    if (RS == 1) {
      UNROLL
      for (int r = 0; r + 4 <= R; r += 4) rows[r] = load(a + r);
      if (R % 4 == 2) rows[R - 2] = (vf)vcombine_f32(vld1_f32(a + R - 2), vdup_n_f32(0));
    }
#endif
    UNROLL
    for (int r = 0; r < R; r++) {
#if defined(OPENELM_NEON)
      vf x = splat(RS == 1 && (r < R / 4 * 4 || R % 4 == 2) ? rows[r / 4 * 4][r % 4] : a[r * RS]);
#else
      vf x = splat(a[r * RS]);
#endif
      UNROLL
      for (int j = 0; j < C; j++) {
        acc[r][j] = fma(x, w[j], acc[r][j]);
        in_order();
      }
    }
  }
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < C; j++) {
      float* c = out.c + r * out.stride + j * W;
      vf v = acc[r][j];
      if (out.add) v += load(c);
      if (out.residual) v += load(out.residual + r * out.stride + j * W);
      store(c, v);
    }
  }
}

template <int R, int B, int KS, int RS>
INLINE void tiles_of(int64_t& row, int64_t rows, int64_t k, const float* a, const float* b, int64_t bs, TileOut out, Ahead& ahead) {
  for (; row + R <= rows; row += R) {
    TileOut o = out;
    o.c += row * out.stride;
    if (o.residual) o.residual += row * out.stride;
    tile<R, B, KS, RS>(k, a + row * RS, b, bs, o, ahead);
    ahead = {(const char*)a, 0, 0};   // once is enough
  }
}

// Any number of rows, B panels. The first tile fetches what is ahead, if anything.
template <int B, int KS, int RS>
INLINE void tile_rows(int64_t rows, int64_t k, const float* a, const float* b, int64_t bs, TileOut out, Ahead ahead = {nullptr, 0, 0}) {
  if (!ahead.from) ahead = {(const char*)a, 0, 0};
  for (int at = 0; at < NV; at += kTileVectors, b += kTileVectors * W) {
    int64_t row = 0;
    tiles_of<kTileRows, B, KS, RS>(row, rows, k, a, b, bs, out, ahead);
    if (kTileRows > 8) tiles_of<8, B, KS, RS>(row, rows, k, a, b, bs, out, ahead);
    if (kTileRows > 4) tiles_of<4, B, KS, RS>(row, rows, k, a, b, bs, out, ahead);
    if (kTileRows > 2) tiles_of<2, B, KS, RS>(row, rows, k, a, b, bs, out, ahead);
    tiles_of<1, B, KS, RS>(row, rows, k, a, b, bs, out, ahead);
    out.c += kTileVectors * W;
    if (out.residual) out.residual += kTileVectors * W;
  }
}

}  // namespace openelm::OPENELM_ISA
