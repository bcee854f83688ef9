// Packing and the inner product of training's f32 matrix products: c = a b with a packed in tiles [k][kProductRows] and b in
// panels [k][kProductColumns], so that the inner product reads both straight on. How a product is cut into blocks and chunks is
// its caller's: gemm.cc for layers, cross_entropy.cc for the head. Inference multiplies with tile.h and other packings.
#pragma once
#include "internal.h"

namespace openelm::OPENELM_ISA {

constexpr int kProductRows = kTileRows, kProductColumns = kTilePanels * kTileVectors * W;
// Tiles of a lie k * kProductRows + kSlack apart: vector stores of the last row reach beyond it.
constexpr int64_t kSlack = 16;
INLINE int64_t tile_step(int64_t k) { return k * kProductRows + kSlack; }

// How packing reads elements of a row: as they are.
struct Plain {
  vf vector(const float* p, int64_t) const __attribute__((always_inline)) { return load(p); }
  float element(const float* p, int64_t) const { return *p; }
};

// out[k][S] = from[i * stride + k] for i < n, zeros up to S: k runs along memory. Writes less than kSlack floats beyond the end.
template <int S, class Read = Plain>
NOINLINE void pack_inner(const float* from, int64_t stride, int64_t n, int64_t count, float* out, Read read = {}) {
  int64_t k = 0;
#if defined(__AVX2__) || defined(__wasm_simd128__)
  // From the last lanes: where S is no multiple of W, their stores run into the next k, whose first lanes come after.
  for (int64_t lane = (S - 1) / W * W; lane >= 0; lane -= W) {
    const float* rows = from + lane * stride;
    const int64_t here = clamp(n - lane, 0, W);
    for (k = 0; k + W <= count; k += W) {
      vf r[W];
      if (here == W) {
        UNROLL
        for (int j = 0; j < W; j++) {
          r[j] = read.vector(rows + j * stride + k, lane + j);
          __builtin_prefetch(rows + j * stride + k + 64);
        }
      } else {
        UNROLL
        for (int j = 0; j < W; j++) r[j] = j < here ? read.vector(rows + j * stride + k, lane + j) : (vf){};
      }
#if defined(__AVX512F__)
      transpose((__m512*)r);
#elif defined(__AVX2__)
      transpose((__m256*)r);
#else
      transpose(r);
#endif
      UNROLL
      for (int j = 0; j < W; j++) store(out + (k + j) * S + lane, r[j]);
    }
  }
#endif
  for (; k < count; k++)
    for (int64_t lane = 0; lane < S; lane++) out[k * S + lane] = lane < n ? read.element(from + lane * stride + k, lane) : 0;
}

// Panels of S, `step` floats apart: out[i / S][k][i % S] = from[k * stride + i] for i < n, zeros up to a whole panel. A few k at a
// time, so that rows are read straight on and panels written by whole lines. Writes less than kSlack floats beyond the end.
template <int S>
NOINLINE void pack_outer(const float* from, int64_t stride, int64_t n, int64_t count, float* out, int64_t step) {
  constexpr int kWhole = (S + W - 1) / W * W;   // what is stored beyond S is written again by the next k
  constexpr int64_t kTogether = 16;
  for (int64_t first = 0; first < count; first += kTogether, from += kTogether * stride, out += kTogether * S) {
    const int64_t here = smaller(kTogether, count - first);
    float* to = out;
    for (int64_t i = 0; i < n; i += S, to += step) {
      const float* row = from + i;
      int64_t k = 0;
      if (i + S <= n) {
        for (; k < here - (first + here == count); k++, row += stride) {   // the last row may end where the matrix does
          __builtin_prefetch(row + kTogether * stride);
          UNROLL
          for (int j = 0; j < kWhole; j += W) store(to + k * S + j, load(row + j));
        }
      }
      for (; k < here; k++, row += stride)
        for (int64_t j = 0; j < S; j++) to[k * S + j] = i + j < n ? row[j] : 0;
    }
  }
}

// R rows of a tile of `a` times a panel of `b`, in registers.
template <int R>
INLINE void multiply_rows(int64_t k, const float* __restrict a, const float* __restrict b, vf (&acc)[R][kProductColumns / W]) {
  constexpr int C = kProductColumns / W;
  constexpr int kAhead = 32;   // steps of a: it comes from the second cache or the third, b from the first
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < C; j++) acc[r][j] = (vf){};
  }
#if !defined(__wasm__)
#pragma GCC unroll 2
#endif
  for (int64_t i = 0; i < k; i++, a += kProductRows, b += kProductColumns) {
    __builtin_prefetch(a + kAhead * kProductRows);
    vf w[C];
    UNROLL
    for (int j = 0; j < C; j++) w[j] = load(b + j * W);
    UNROLL
    for (int r = 0; r < R; r++) {
      vf x = splat(a[r]);
      UNROLL
      for (int j = 0; j < C; j++) {
        acc[r][j] = fma(x, w[j], acc[r][j]);
        in_order();
      }
    }
  }
}

// To where the product goes. A function of its own, as tile() is.
template <int R>
NOINLINE void product(int64_t k, const float* __restrict a, const float* __restrict b, TileOut out) {
  constexpr int C = kProductColumns / W;
  vf acc[R][C];
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < kProductColumns; j += kPanel) __builtin_prefetch(out.c + r * out.stride + j, 1);
  }
  multiply_rows(k, a, b, acc);
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

template <int R>
INLINE void products_of(int64_t& row, int64_t rows, int64_t k, const float* a, const float* b, TileOut out) {
  for (; row + R <= rows; row += R) {
    TileOut o = out;
    o.c += row * out.stride;
    if (o.residual) o.residual += row * out.stride;
    product<R>(k, a + row, b, o);
  }
}
INLINE void product_rows(int64_t rows, int64_t k, const float* a, const float* b, TileOut out) {
  int64_t row = 0;
  products_of<kProductRows>(row, rows, k, a, b, out);
  if (kProductRows > 8) products_of<8>(row, rows, k, a, b, out);
  if (kProductRows > 4) products_of<4>(row, rows, k, a, b, out);
  if (kProductRows > 2) products_of<2>(row, rows, k, a, b, out);
  products_of<1>(row, rows, k, a, b, out);
}

// A block of products: m rows in tiles a_step apart, n columns in panels b_step apart.
static inline void multiply_packed(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_step, const float* b, int64_t b_step, TileOut out) {
  for (int64_t j = 0; j < n; j += kProductColumns, b += b_step) {
    for (int64_t i = 0; i < m; i += kProductRows) {
      const float* tile = a + i / kProductRows * a_step;
      const int64_t rows = smaller(kProductRows, m - i), width = smaller(kProductColumns, n - j), at = i * out.stride + j;
      TileOut o = {out.c + at, out.stride, out.residual ? out.residual + at : nullptr, out.add};
      if (width == kProductColumns) {
        product_rows(rows, k, tile, b, o);
        continue;
      }
      alignas(64) float block[kProductRows * kProductColumns];
      product_rows(rows, k, tile, b, {block, kProductColumns, nullptr, false});
      for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c++) {
          const int64_t to = r * out.stride + c;
          o.c[to] = (o.add ? o.c[to] : 0) + block[r * kProductColumns + c] + (o.residual ? o.residual[to] : 0);
        }
    }
  }
}

}  // namespace openelm::OPENELM_ISA
