// The int8 tile for ARM: sums of four products by smull and its kin, by sdot (OPENELM_DOTPROD) or usdot, and two rows by two
// outputs of eight products at once by usmmla (OPENELM_I8MM). Half a panel at a time, so that six rows' sums of integers and of
// floats stay in registers; one row takes the whole panel. Included by linear_quant.cc alone.
#pragma once
#include <utility>

#include "codes.h"

namespace openelm::OPENELM_ISA {

#if defined(OPENELM_I8MM)
constexpr bool kUnsigned = true;
#else
constexpr bool kUnsigned = false;
#endif

// Weights of four outputs and four inputs as they are multiplied: unsigned for usdot, else signed (those below 128 are both), 128
// less.
template <DType T> constexpr bool lowered() { return code_bits(T) == 8 && !kUnsigned; }
// Those of step i of four inputs, four outputs from `w` on.
template <DType T> INLINE uint8x16_t weights_at(const uint8_t* w, int i) {
  if (code_bits(T) == 8) return lowered<T>() ? veorq_u8(vld1q_u8(w + i * 64), vdupq_n_u8(0x80)) : vld1q_u8(w + i * 64);
  if (code_bits(T) == 3) {
    const uint8x16_t low = vshlq_u8(vld1q_u8(w + i / 4 * 64), vdupq_n_s8((int8_t)(-2 * (i % 4))));
    const uint8x16_t third = vshlq_u8(vld1q_u8(w + 128), vdupq_n_s8((int8_t)(2 - i)));
    return vorrq_u8(vandq_u8(low, vdupq_n_u8(3)), vandq_u8(third, vdupq_n_u8(4)));
  }
  const uint8x16_t v = vld1q_u8(w + i / 2 * 64);
  return i % 2 ? vshrq_n_u8(v, 4) : vandq_u8(v, vdupq_n_u8(15));
}
// What a group's sum starts with: the zero point's part of it. Of affine weights `sum` is that of the activations' codes.
template <DType T> INLINE int32_t zero_part(int32_t sum) {
  if (affine(T)) return lowered<T>() ? 128 * sum : 0;
  return lowered<T>() ? 0 : sum;
}

// a += four products, of four outputs and of four inputs, those in lane L of x.
template <int L> INLINE int32x4_t dot(int32x4_t a, uint8x16_t w, int32x4_t x) {
#if defined(OPENELM_I8MM)
  return vusdotq_laneq_s32(a, w, vreinterpretq_s8_s32(x), L);
#elif defined(OPENELM_DOTPROD)
  return vdotq_laneq_s32(a, vreinterpretq_s8_u8(w), vreinterpretq_s8_s32(x), L);
#else
  const int8x16_t s = vreinterpretq_s8_u8(w), four = vreinterpretq_s8_s32(vdupq_laneq_s32(x, L));
  const int16x8_t low = vmull_s8(vget_low_s8(s), vget_low_s8(four)), high = vmull_high_s8(s, four);
  return vpadalq_s16(a, vpaddq_s16(low, high));   // two products fit 16 bits
#endif
}

// Product E = step * R + row of a group: V vectors of outputs. Codes are [8 steps][R][4]; each load serves four of them.
template <int R, int V, DType T, int E>
INLINE void dot_step(int32x4_t (&a)[R][V], uint8x16_t (&u)[V], const uint8_t* w, const int8_t* x) {
  constexpr int r = E % R;
  if (r == 0) {
    UNROLL
    for (int j = 0; j < V; j++) u[j] = weights_at<T>(w + j * 16, E / R);
  }
  const int32x4_t four = vreinterpretq_s32_s8(vld1q_s8(x + E / 4 * 16));
  UNROLL
  for (int j = 0; j < V; j++) a[r][j] = dot<E % 4>(a[r][j], u[j], four);
}
template <int R, int V, DType T, int... E>
INLINE void dot_steps(int32x4_t (&a)[R][V], const uint8_t* w, const int8_t* x, std::integer_sequence<int, E...>) {
  uint8x16_t u[V];
  (dot_step<R, V, T, E>(a, u, w, x), ...);
}

// The products of one group of 32 inputs.
template <int R, int V, DType T>
INLINE void group_products(int32x4_t (&a)[R][V], const uint8_t* w, const int8_t* x, const int32_t* sums) {
#if defined(OPENELM_I8MM)
  if constexpr (R > 1) {
    // Pairs of rows by pairs of outputs; codes are [4 steps][R][8]. An odd last row is paired with what lies behind it.
    constexpr int P = (R + 1) / 2;
    int32x4_t t[P][2 * V];
    UNROLL
    for (int p = 0; p < P; p++) {
      const int32x2_t two = {zero_part<T>(sums[2 * p]), zero_part<T>(sums[2 * p + 1 < R ? 2 * p + 1 : 2 * p])};
      UNROLL
      for (int j = 0; j < 2 * V; j++) t[p][j] = vcombine_s32(two, two);
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
      uint8x16_t u[2 * V];   // two outputs, eight inputs each
      UNROLL
      for (int j = 0; j < V; j++) {
        const uint32x4_t first = vreinterpretq_u32_u8(weights_at<T>(w + j * 16, 2 * i));
        const uint32x4_t second = vreinterpretq_u32_u8(weights_at<T>(w + j * 16, 2 * i + 1));
        u[2 * j] = vreinterpretq_u8_u32(vzip1q_u32(first, second));
        u[2 * j + 1] = vreinterpretq_u8_u32(vzip2q_u32(first, second));
      }
      UNROLL
      for (int p = 0; p < P; p++) {
        const int8x16_t rows = vld1q_s8(x + i * R * 8 + p * 16);
        UNROLL
        for (int j = 0; j < 2 * V; j++) t[p][j] = vusmmlaq_s32(t[p][j], u[j], rows);
      }
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < V; j++) {
        const int32x4_t low = t[r / 2][2 * j], high = t[r / 2][2 * j + 1];
        a[r][j] = r % 2 ? vuzp2q_s32(low, high) : vuzp1q_s32(low, high);
      }
    }
    return;
  }
#endif
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < V; j++) a[r][j] = vdupq_n_s32(zero_part<T>(sums[r]));
  }
  dot_steps<R, V, T>(a, w, x, std::make_integer_sequence<int, 8 * R>());
}

// R rows by V vectors of outputs, of which `first` is the first of the panel.
template <int R, int V, DType T>
NOINLINE void quant_part(const QuantTile& z, int first) {
  constexpr int kGroupBytes = group_bytes(T);
  const int64_t ahead = R == 1 ? 2048 : z.ahead * z.panel_bytes;
  const uint8_t* w = z.weights + first * 16;
  const uint16_t* weight_scales = z.weight_scales + first * 4;
  const uint16_t* weight_minimums = affine(T) ? z.weight_minimums + first * 4 : nullptr;
  const int8_t* x = (const int8_t*)z.codes;
  const float* scales = z.scales;
  const int32_t* sums = z.sums;
  float32x4_t f[R][V];
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < V; j++) f[r][j] = vdupq_n_f32(0);
  }
  for (int64_t g = 0; g < z.groups; g++, w += kGroupBytes, x += R * kGroup, scales += R, sums += R) {
    UNROLL
    for (int at = 0; at < kGroupBytes; at += 64 * 4 / V) __builtin_prefetch(w + at + ahead, 0, 2);   // half of the lines by each half
    int32x4_t a[R][V];
    group_products<R, V, T>(a, w, x, sums);
    float32x4_t d[V], least[V];
    const int64_t at = (affine(T) ? g >> z.shift : g) * kPanel;
    UNROLL
    for (int j = 0; j < V; j++) {
      d[j] = (float32x4_t)load((const half_t*)(weight_scales + at) + j * 4);
      if (affine(T)) least[j] = (float32x4_t)load((const half_t*)(weight_minimums + at) + j * 4);
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < V; j++) {
        f[r][j] = vfmaq_f32(f[r][j], vcvtq_f32_s32(a[r][j]), vmulq_n_f32(d[j], scales[r]));
        if (affine(T)) f[r][j] = vfmaq_n_f32(f[r][j], least[j], scales[r] * (float)sums[r]);
      }
    }
  }
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < V; j++) {
      const int64_t at = r * z.out.stride + (first + j) * 4;
      vst1q_f32(z.out.c + at, z.out.residual ? vaddq_f32(f[r][j], vld1q_f32(z.out.residual + at)) : f[r][j]);
    }
  }
}

template <int R, int B, DType T>
INLINE void quant_tile(const QuantTile& z) {
  static_assert(B == 1, "one panel at once");
  constexpr int V = R == 1 ? NV : NV / 2;
  for (int first = 0; first < NV; first += V) quant_part<R, V, T>(z, first);
}

}  // namespace openelm::OPENELM_ISA
