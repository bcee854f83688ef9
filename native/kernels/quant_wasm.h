// The int8 tile for WebAssembly, whose products are pairs of 16 bits (i32x4.dot_i16x8), or, relaxed, sums of two or four byte products
// whose second factor has 7 bits: q4's codes do, q8's are |w| with the sign moved to x (OPENELM_DOT, worth it where the engine has
// one instruction for four: VNNI, ARM). The steps of a group stay a loop: where LLVM sees all of them it orders the sums by
// accumulator, and V8 spills hundreds of products. Included by linear_quant.cc alone.
#pragma once
#include "codes.h"
#if !defined(OPENELM_DOT)
#include "quant_text.h"
#endif

namespace openelm::OPENELM_ISA {

// Eight inputs of four outputs in nibbles, which q4's are; `step` of four in a group.
template <DType T> INLINE v128_t line_of(const uint8_t* group, int step) {
  if (code_bits(T) != 3) return wasm_v128_load(group + (size_t)step * 64);
  const v128_t low = wasm_u16x8_shr(wasm_v128_load(group + (size_t)(step / 2) * 64), step % 2 * 4);
  const v128_t high = wasm_u16x8_shr(wasm_v128_load(group + 128), 2 * step);
  const v128_t first = wasm_v128_or(wasm_v128_and(low, wasm_i8x16_const_splat(0x03)), wasm_v128_and(wasm_i16x8_shl(high, 2), wasm_i8x16_const_splat(0x04)));
  const v128_t second = wasm_v128_or(wasm_v128_and(wasm_i16x8_shl(low, 2), wasm_i8x16_const_splat(0x30)), wasm_v128_and(wasm_i16x8_shl(high, 5), wasm_i8x16_const_splat(0x40)));
  return wasm_v128_or(first, second);
}

// Codes of eight bits that are multiplied as signed ones, 128 less.
template <DType T> constexpr bool lowered() { return code_bits(T) == 8 && products<T>() == Products::fours; }

// Weights of one vector, split as the products take them: four outputs, four inputs each (in nibbles: eight).
template <DType T> struct Split { v128_t part[code_bits(T) != 8 && products<T>() == Products::pairs ? 4 : 2]; };
template <DType T> INLINE Split<T> split(v128_t v) {
  constexpr int BITS = code_bits(T);
  if constexpr (BITS == 8 && products<T>() == Products::pairs) return {{wasm_v128_and(v, wasm_i16x8_const_splat(255)), wasm_u16x8_shr(v, 8)}};
  else if constexpr (BITS == 8) {
    const v128_t s = wasm_v128_xor(v, wasm_i8x16_const_splat(-128));
    return {{wasm_i8x16_abs(s), wasm_i8x16_lt(s, wasm_i32x4_const_splat(0))}};
  } else if constexpr (products<T>() == Products::pairs) {
    return {{wasm_v128_and(v, wasm_i16x8_const_splat(15)), wasm_v128_and(wasm_u16x8_shr(v, 8), wasm_i16x8_const_splat(15)),
             wasm_v128_and(wasm_u16x8_shr(v, 4), wasm_i16x8_const_splat(15)), wasm_u16x8_shr(v, 12)}};
  } else return {{wasm_v128_and(v, wasm_i8x16_const_splat(15)), wasm_v128_and(wasm_u16x8_shr(v, 4), wasm_i8x16_const_splat(15))}};
}

// a += the products with a row's word, or two, of the i-th four inputs of the vector.
template <DType T, int R> INLINE v128_t dot(v128_t a, const Split<T>& w, int i, const int32_t* x) {
  const v128_t word = wasm_v128_load32_splat(x);
  if constexpr (products<T>() == Products::pairs) {
    a = wasm_i32x4_add(a, wasm_i32x4_dot_i16x8(w.part[2 * i], word));
    return wasm_i32x4_add(a, wasm_i32x4_dot_i16x8(w.part[2 * i + 1], wasm_v128_load32_splat(x + R)));
  }
#if defined(__wasm_relaxed_simd__)
  else if constexpr (products<T>() == Products::nibbles) return wasm_i16x8_add(a, wasm_i16x8_relaxed_dot_i8x16_i7x16(word, w.part[i]));
  else if constexpr (code_bits(T) != 8) return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(word, w.part[i], a);
  else return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(wasm_i8x16_sub(wasm_v128_xor(word, w.part[1]), w.part[1]), w.part[0], a);
#else
  else return a;   // has no use
#endif
}

#if !defined(OPENELM_DOT)
// Panel b of a tile of one row.
template <DType T>
static void one_row(const QuantTile& z, int b) {
  constexpr int32_t codes = T == kQ8 ? 0x00ff00ff : products<T>() == Products::nibbles ? 0x0f0f0f0f : 0x000f000f;
  // Of scales: for q8 what is added to an exponent, 2, -2^-14; for q4 a mask, 2^112.
  constexpr int32_t scales[3] = {T == kQ8 ? 0x38000000 : (int32_t)0x8fffe000, T == kQ8 ? 0x40000000 : 0x77800000, (int32_t)0xb8800000};
#define ALL(v) {v, v, v, v}
  alignas(16) static const int32_t masks[4][4] = {ALL(codes), ALL(scales[0]), ALL(scales[1]), ALL(scales[2])};
#undef ALL
  alignas(16) float sums[kPanel];
  (T == kQ8 ? openelm_row_q8 : openelm_row_q4)(z.weights + b * z.panel_bytes, z.codes, (int)z.groups, z.scales, z.sums,
                                               z.weight_scales + b * z.panel_scales, sums, masks);
  for (int i = 0; i < kPanel; i += W) {
    vf v = load(sums + i);
    if (z.out.residual) v += load(z.out.residual + b * kPanel + i);
    store(z.out.c + b * kPanel + i, v);
  }
}

constexpr int64_t kManyRows = 8;     // from here on weights are widened first, for all rows
constexpr int kWidenedGroups = 40;   // at once: they stay in the first cache while all rows pass

// Groups of the vectors `at`, `at` + 1 of a panel, as openelm_five_rows takes them.
template <DType T>
static void widen(const QuantTile& z, int64_t group, int64_t count, int at, uint8_t* out) {
  for (int64_t g = group; g < group + count; g++) {
    for (int step = 0; step < code_bits(T); step++) {
      const uint8_t* w = z.weights + g * group_bytes(T) + step * 64 + at * 16;
      const Split<T> a = split<T>(wasm_v128_load(w)), b = split<T>(wasm_v128_load(w + 16));
      for (size_t i = 0; i < sizeof a / sizeof a.part[0]; i++, out += 32) {
        wasm_v128_store(out, a.part[i]);
        wasm_v128_store(out + 16, b.part[i]);
      }
    }
    for (int j = 0; j < 2; j++, out += 16) store((float*)out, load((const half_t*)(z.weight_scales + g * kPanel + (at + j) * W)));
  }
}

// A tile's sums by halves of a panel. They go while the next tile is made: lines of the output come from far.
INLINE void store_tile(const TileOut& out, int64_t row, const float* sums) {
  for (int64_t r = 0; r < kRows; r++, sums += 2 * W)
    UNROLL
    for (int i = 0; i < kPanel; i += W) {
      const int64_t to = (row + r) * out.stride + i;
      vf v = load(sums + i / (2 * W) * (kRows * 2 * W) + i % (2 * W));
      if (out.residual) v += load(out.residual + to);
      store(out.c + to, v);
    }
}

// Whole tiles of `rows` rows by a whole panel. Returns how many rows that is.
template <DType T>
static int64_t many_rows(QuantTile z, int64_t words, int64_t rows) {
  constexpr bool nibbles = products<T>() == Products::nibbles;
  constexpr int kBytes = nibbles ? 288 : 544;
  constexpr int64_t kTiles = 64;
  alignas(64) uint8_t weights[kWidenedGroups * kBytes];
  alignas(64) float sums[kTiles][NV / 2][kRows][2 * W];
  const int64_t tiles = smaller(rows / kRows, kTiles), together = up(z.groups, up(z.groups, kWidenedGroups));
  memset(sums, 0, (size_t)tiles * sizeof sums[0]);
  for (int at = 0; at < NV; at += 2) {
    for (int64_t g = 0; g < z.groups; g += together) {
      const int64_t count = smaller(together, z.groups - g);
      widen<T>(z, g, count, at, weights);
      for (int64_t t = 0; t < tiles; t++) {
        const int64_t from = (t * z.groups + g) * kRows;
        (nibbles ? openelm_five_rows_nibbles : openelm_five_rows_pairs)(weights, z.codes + from * words, (int)count, z.scales + from, z.sums + from, sums[t][at / 2][0]);
        if (at + 2 == NV && g + count == z.groups) store_tile(z.out, t * kRows, sums[t][0][0]);
      }
    }
  }
  return tiles * kRows;
}
#endif

// R rows x B panels.
template <int R, int B, DType T>
NOINLINE void quant_tile(const QuantTile& z) {
#if !defined(OPENELM_DOT)
  if constexpr (R == 1 && !affine(T)) {
    if (z.usual) {
      for (int b = 0; b < B; b++) one_row<T>(z, b);
      return;
    }
  }
#endif
  constexpr Products kind = products<T>();
  constexpr int C = B * NV, kLoads = code_bits(T) == 8 ? 8 : 4, kInputs = code_bits(T) == 8 ? 1 : 2, kWords = kind == Products::pairs ? 2 : 1;
  // Signed products need no zero point. Of affine weights sums are the activations'.
  constexpr bool from_zero = lowered<T>() || affine(T);
  const uint8_t* w = z.weights;
  const int shift = affine(T) ? z.shift : 0;
  const int32_t* x = z.codes;
  const float* scales = z.scales;
  const int32_t* sums = z.sums;
  const size_t panel_bytes = (size_t)z.panel_bytes, panel_scales = (size_t)z.panel_scales;
  vf f[R][C];
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < C; j++) f[r][j] = (vf){};
  }
  for (int g = 0; g < (int)z.groups; g++, w += group_bytes(T), scales += R, sums += R) {
    const size_t factors = (size_t)((g >> shift) * kPanel);
    v128_t a[R][C];
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < C; j++) a[r][j] = from_zero ? wasm_i32x4_const_splat(0) : wasm_i32x4_splat(sums[r]);
    }
#pragma clang loop unroll(disable)
    for (int step = 0; step < kLoads; step++, x += R * kWords * kInputs) {
      asm("" : "+r"(step), "+r"(x));
      Split<T> u[C];
      UNROLL
      for (int j = 0; j < C; j++) u[j] = split<T>(line_of<T>(w + (size_t)(j / NV) * panel_bytes + j % NV * 16, step));
      UNROLL
      for (int i = 0; i < kInputs; i++) {
        UNROLL
        for (int r = 0; r < R; r++) {
          UNROLL
          for (int j = 0; j < C; j++) a[r][j] = dot<T, R>(a[r][j], u[j], i, x + i * kWords * R + r);
        }
      }
    }
    UNROLL
    for (int j = 0; j < C; j++) {
      const size_t at = factors + (size_t)(j / NV) * panel_scales + j % NV * W;
      const vf d = load((const half_t*)(z.weight_scales + at));
      const vf least = affine(T) ? load((const half_t*)(z.weight_minimums + at)) : (vf){};
      UNROLL
      for (int r = 0; r < R; r++) {
        v128_t sum = kind == Products::nibbles ? wasm_i32x4_extadd_pairwise_i16x8(a[r][j]) : a[r][j];
        if (affine(T) && lowered<T>()) sum = wasm_i32x4_add(sum, wasm_i32x4_splat(128 * sums[r]));
        f[r][j] = fma((vf)wasm_f32x4_convert_i32x4(sum), d * splat(scales[r]), f[r][j]);
        if (affine(T)) f[r][j] = fma(least, splat(scales[r] * (float)sums[r]), f[r][j]);
      }
    }
  }
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < C; j++) {
      vf v = f[r][j];
      if (z.out.residual) v += load(z.out.residual + r * z.out.stride + j * W);
      store(z.out.c + r * z.out.stride + j * W, v);
    }
  }
}

}  // namespace openelm::OPENELM_ISA
