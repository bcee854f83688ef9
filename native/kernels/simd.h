// Vectors of W floats for the kernels: 16 with AVX-512, 8 with AVX2, 4 with NEON (OPENELM_NEON) and otherwise; a weight panel of 16 is NV of them. GCC's vector
// extensions wherever the language has a word for it, one intrinsic where it has not. Everything lies in a namespace of the
// instruction set, so that no inline function compiled for one is linked into another. Compiled with -ffp-contract=off: a
// multiply-add is fused where it says fma().
#pragma once
#include <math.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

#include "kernels.h"

// vpdpbusd: AVX-512's, or AVX-VNNI's at 256 bits. OPENELM_EVEX: the kernels of AVX-VNNI in AVX-512's encoding.
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#define OPENELM_VNNI
#endif
#if defined(OPENELM_EVEX)
#undef __AVX512F__
#endif

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

namespace openelm::OPENELM_ISA {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif
constexpr int NV = kPanel / W;

// For a loop that reads on by STEP bytes, a power of two. WebAssembly has no instruction to fetch ahead, and a load of what is not there yet holds
// up all behind it. But one instruction that reads again, once a page, what was read a page before waits for nothing, and from its
// steps the CPU learns to bring the beginnings of pages to come, and where they lie. That is worth a third of a stream's time where pages
// have 4 KB, as engines take them; with large ones it costs nothing.
template <int STEP>
INLINE void page_behind(const void* p) {
#if defined(__wasm__)
  constexpr uintptr_t kPage = 4096;
  if (((uintptr_t)p & (kPage - STEP)) == 0) (void)*(const volatile int32_t*)((const char*)p - kPage);   // memory begins far before
#else
  (void)p;
#endif
}

typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef float vf_memory __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t vi_memory __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef uint16_t vh __attribute__((vector_size(W * 2)));
typedef int8_t vb_memory __attribute__((vector_size(W), aligned(1), may_alias));
typedef uint16_t vh_memory __attribute__((vector_size(W * 2), aligned(2), may_alias));
typedef int16_t vs_memory __attribute__((vector_size(W * 2), aligned(2), may_alias));

INLINE vf splat(float x) { return x - (vf){}; }
INLINE vi splat_int(int32_t x) { return x - (vi){}; }
INLINE vf load(const float* p) { return *(const vf_memory*)p; }
INLINE void store(float* p, vf v) { *(vf_memory*)p = v; }
INLINE vi load_int(const void* p) { return *(const vi_memory*)p; }
INLINE void store_int(void* p, vi v) { *(vi_memory*)p = v; }
INLINE vi bits(vf v) { return (vi)v; }
INLINE vf from_bits(vi v) { return (vf)v; }
INLINE vf to_float(vi v) { return __builtin_convertvector(v, vf); }
INLINE vi truncate(vf v) {
#if defined(__wasm_relaxed_simd__)
  return (vi)wasm_i32x4_relaxed_trunc_f32x4((v128_t)v);   // the other saturates, in seven instructions
#else
  return __builtin_convertvector(v, vi);
#endif
}
INLINE vf vabs(vf v) { return from_bits(bits(v) & 0x7fffffff); }

INLINE vf fma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#elif defined(__wasm_relaxed_simd__)
  return (vf)wasm_f32x4_relaxed_madd((v128_t)a, (v128_t)b, (v128_t)c);   // fused wherever the CPU can, the same everywhere in a process
#else
  return a * b + c;
#endif
}
// The larger; b where either is not a number.
INLINE vf vmax(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__wasm_simd128__)
  return (vf)wasm_f32x4_pmax((v128_t)b, (v128_t)a);
#else
  return a > b ? a : b;
#endif
}
INLINE vi vmax_int(vi a, vi b) {
#if defined(__AVX512F__)
  return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b);
#else
  return a > b ? a : b;
#endif
}
// Rounds to the nearest integer, ties to even, as long as |v| < 2^22.
INLINE vf round_even(vf v) { return (v + 12582912.0f) - 12582912.0f; }
INLINE vi round_to_int(vf v) {
#if defined(__AVX512F__)
  return (vi)_mm512_cvtps_epi32((__m512)v);
#elif defined(__AVX2__)
  return (vi)_mm256_cvtps_epi32((__m256)v);
#elif defined(OPENELM_NEON)
  return (vi)vcvtnq_s32_f32((float32x4_t)v);
#elif defined(__wasm_simd128__)
  return bits(v + 12582912.0f) - 0x4b400000;
#else
  return truncate(round_even(v));
#endif
}

// The first n < W lanes; the others read as 0 and are not written.
INLINE vf load_part(const float* p, int n) {
  alignas(64) float t[W] = {};
  memcpy(t, p, n * 4);
  return load(t);
}
INLINE void store_part(float* p, vf v, int n) {
  alignas(64) float t[W];
  store(t, v);
  memcpy(p, t, n * 4);
}

// All bits set in the first n lanes.
INLINE vi first_lanes(int64_t n) {
  alignas(64) static const int32_t lanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load_int(lanes) < (int32_t)n;
}
INLINE vf chosen(vi mask, vf a, vf b) { return from_bits((bits(a) & mask) | (bits(b) & ~mask)); }

// Sums and maxima over the lanes, always in the same order.
INLINE float sum(vf v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#elif defined(__AVX2__)
  __m128 m = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  m = _mm_add_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_add_ss(m, _mm_movehdup_ps(m)));
#elif defined(OPENELM_NEON)
  return vaddvq_f32((float32x4_t)v);
#elif defined(__wasm_simd128__)
  v += (vf)wasm_i32x4_shuffle((v128_t)v, (v128_t)v, 2, 3, 0, 1);
  return v[0] + v[1];
#else
  alignas(64) float t[W];
  store(t, v);
  for (int n = W / 2; n > 0; n /= 2)
    for (int i = 0; i < n; i++) t[i] += t[i + n];
  return t[0];
#endif
}
INLINE float largest(vf v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)v);
#elif defined(__AVX2__)
  __m128 m = _mm_max_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
#elif defined(__wasm_simd128__)
  v = vmax((vf)wasm_i32x4_shuffle((v128_t)v, (v128_t)v, 2, 3, 0, 1), v);
  return v[1] > v[0] ? v[1] : v[0];
#else
  alignas(64) float t[W];
  store(t, v);
  float best = t[0];
  for (int i = 1; i < W; i++) best = t[i] > best ? t[i] : best;
  return best;
#endif
}

INLINE int32_t largest_int(vi v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_epi32((__m512i)v);
#elif defined(__AVX2__)
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
#elif defined(OPENELM_NEON)
  return vmaxvq_s32((int32x4_t)v);
#elif defined(__wasm_simd128__)
  v = vmax_int((vi)wasm_i32x4_shuffle((v128_t)v, (v128_t)v, 2, 3, 0, 1), v);
  return v[1] > v[0] ? v[1] : v[0];
#else
  int32_t best = v[0];
  for (int i = 1; i < W; i++) best = v[i] > best ? v[i] : best;
  return best;
#endif
}
INLINE int32_t sum_int(vi v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_epi32((__m512i)v);
#elif defined(__AVX2__)
  __m128i m = _mm_add_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
  m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
#elif defined(OPENELM_NEON)
  return vaddvq_s32((int32x4_t)v);
#elif defined(__wasm_simd128__)
  v += (vi)wasm_i32x4_shuffle((v128_t)v, (v128_t)v, 2, 3, 0, 1);
  return v[0] + v[1];
#else
  int32_t total = 0;
  for (int i = 0; i < W; i++) total += v[i];
  return total;
#endif
}
// out[i] = the sum of v[i]'s lanes, for W vectors.
INLINE void sums(const vf* v, float* out) {
#if defined(__AVX512F__)
  const __m512* a = (const __m512*)v;
  __m512 b[4];
  UNROLL
  for (int i = 0; i < 4; i++) {
    __m512 low = _mm512_add_ps(_mm512_unpacklo_ps(a[4 * i], a[4 * i + 1]), _mm512_unpackhi_ps(a[4 * i], a[4 * i + 1]));
    __m512 high = _mm512_add_ps(_mm512_unpacklo_ps(a[4 * i + 2], a[4 * i + 3]), _mm512_unpackhi_ps(a[4 * i + 2], a[4 * i + 3]));
    b[i] = _mm512_add_ps(_mm512_shuffle_ps(low, high, 0x44), _mm512_shuffle_ps(low, high, 0xee));   // four sums in each quarter
  }
  __m512 low = _mm512_add_ps(_mm512_shuffle_f32x4(b[0], b[1], 0x88), _mm512_shuffle_f32x4(b[0], b[1], 0xdd));
  __m512 high = _mm512_add_ps(_mm512_shuffle_f32x4(b[2], b[3], 0x88), _mm512_shuffle_f32x4(b[2], b[3], 0xdd));
  store(out, (vf)_mm512_add_ps(_mm512_shuffle_f32x4(low, high, 0x88), _mm512_shuffle_f32x4(low, high, 0xdd)));
#elif defined(__AVX2__)
  const __m256* a = (const __m256*)v;
  __m256 low = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
  __m256 high = _mm256_hadd_ps(_mm256_hadd_ps(a[4], a[5]), _mm256_hadd_ps(a[6], a[7]));
  store(out, (vf)_mm256_add_ps(_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)));
#elif defined(OPENELM_NEON)
  const float32x4_t* a = (const float32x4_t*)v;
  store(out, (vf)vpaddq_f32(vpaddq_f32(a[0], a[1]), vpaddq_f32(a[2], a[3])));
#elif defined(__wasm_simd128__)
  const v128_t a = (v128_t)v[0], b = (v128_t)v[1], c = (v128_t)v[2], d = (v128_t)v[3];
  vf ab = (vf)wasm_i32x4_shuffle(a, b, 0, 4, 1, 5) + (vf)wasm_i32x4_shuffle(a, b, 2, 6, 3, 7);   // a0+a2, b0+b2, a1+a3, b1+b3
  vf cd = (vf)wasm_i32x4_shuffle(c, d, 0, 4, 1, 5) + (vf)wasm_i32x4_shuffle(c, d, 2, 6, 3, 7);
  store(out, (vf)wasm_i32x4_shuffle((v128_t)ab, (v128_t)cd, 0, 1, 4, 5) + (vf)wasm_i32x4_shuffle((v128_t)ab, (v128_t)cd, 2, 3, 6, 7));
#else
  for (int i = 0; i < W; i++) out[i] = sum(v[i]);
#endif
}
// The low byte of each lane.
INLINE void store_bytes(int8_t* p, vi v) {
#if defined(__AVX512F__)
  _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8((__m512i)v));
#elif defined(__wasm_simd128__)
  wasm_v128_store32_lane(p, wasm_i8x16_shuffle((v128_t)v, (v128_t)v, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), 0);
#else
  for (int i = 0; i < W; i += 4) {
    uint32_t four = (uint32_t)(v[i] & 255) | (uint32_t)(v[i + 1] & 255) << 8 | (uint32_t)(v[i + 2] & 255) << 16 | (uint32_t)v[i + 3] << 24;
    memcpy(p + i, &four, 4);
  }
#endif
}

// ---- 16-bit floats

struct half_t { uint16_t v; };
struct bfloat_t { uint16_t v; };

INLINE float float_of(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
INLINE uint32_t bits_of(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
INLINE float f16_to_f32(uint16_t h) {
#if defined(__AVX2__)
  return _cvtsh_ss(h);
#elif defined(OPENELM_NEON)
  __fp16 half;
  memcpy(&half, &h, 2);
  return (float)half;
#else
  uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
  uint32_t u = bits_of(float_of(magnitude) * 0x1p112f);
  if ((h & 0x7c00) == 0x7c00) u |= 0x7f800000;
  return float_of(u | (uint32_t)(h & 0x8000) << 16);
#endif
}
// Nearest, ties to even.
INLINE uint16_t f32_to_f16(float f) {
#if defined(__AVX2__)
  return (uint16_t)_cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT);
#elif defined(OPENELM_NEON)
  const __fp16 half = (__fp16)f;
  uint16_t h;
  memcpy(&h, &half, 2);
  return h;
#else
  uint32_t u = bits_of(f), sign = u >> 16 & 0x8000, x = u & 0x7fffffff;
  if (x >= 0x47800000) return (uint16_t)(sign | (x > 0x7f800000 ? 0x7e00 | (x >> 13 & 0x3ff) : 0x7c00));
  if (x < 0x38800000) return (uint16_t)(sign | (bits_of(float_of(x) + 0.5f) - 0x3f000000));   // the sum's last bit is f16's 2^-24
  return (uint16_t)(sign | (x + 0xc8000fff + (x >> 13 & 1)) >> 13);
#endif
}
INLINE uint16_t f32_to_bf16(float f) {
  uint32_t u = bits_of(f);
  if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 0x40);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
INLINE float element(const float* p) { return *p; }
INLINE float element(const half_t* p) { return f16_to_f32(p->v); }
INLINE float element(const bfloat_t* p) { return float_of((uint32_t)p->v << 16); }
INLINE void set_element(float* p, float f) { *p = f; }
INLINE void set_element(half_t* p, float f) { p->v = f32_to_f16(f); }
INLINE void set_element(bfloat_t* p, float f) { p->v = f32_to_bf16(f); }

// A code of 8 bits as it is; what it is multiplied with is its reader's business.
struct code_t { int8_t v; };
INLINE float element(const code_t* p) { return p->v; }
INLINE vf load(const code_t* p) {
#if defined(__AVX512F__)
  return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
#elif defined(__AVX2__)
  return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
#elif defined(OPENELM_NEON)
  int32_t four;
  memcpy(&four, p, 4);
  return (vf)vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four))))));
#elif defined(__wasm_simd128__)
  const v128_t words = wasm_i16x8_extend_low_i8x16(wasm_v128_load32_zero(p));
  return (vf)wasm_f32x4_convert_i32x4(wasm_i32x4_extend_low_i16x8(words));
#else
  return to_float(__builtin_convertvector(*(const vb_memory*)p, vi));
#endif
}
// What x up to `largest` in magnitude are multiplied with to become codes; none of it where that is not finite.
INLINE float code_inverse(float largest) {
  const float inverse = 127.0f / largest;
  return inverse <= 3.402823466e38f ? inverse : 0;
}
INLINE float code_scale(float largest) { return largest / 127.0f + (largest - largest); }

INLINE vf load(const bfloat_t* p) {
#if defined(__AVX512F__)
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16);
#elif defined(__AVX2__)
  return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16);
#else
  return from_bits(__builtin_convertvector(*(const vh_memory*)p, vi) << 16);
#endif
}
INLINE vf load(const half_t* p) {
#if defined(__AVX512F__)
  return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p));
#elif defined(__AVX2__)
  return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p));
#elif defined(OPENELM_NEON)
  return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t*)p)));
#elif defined(__wasm_simd128__)
  // The sign fills bits 28..31; infinity and not a number come out as 2^16 and more.
  vi u = ((vi)wasm_i32x4_load16x4(p) << 13) & (int32_t)0x8fffffff;
  vi f = bits(from_bits(u) * 0x1p112f);
  return from_bits(f | (((u & 0x0f800000) == 0x0f800000) & 0x7f800000));
#else
  vi h = __builtin_convertvector(*(const vh_memory*)p, vi);
  vi u = bits(from_bits((h & 0x7fff) << 13) * 0x1p112f);
  u |= ((h & 0x7c00) == 0x7c00) & 0x7f800000;
  return from_bits(u | (h & 0x8000) << 16);
#endif
}
#if defined(__wasm_simd128__)
// Half the instructions where all numbers are finite: as 2^-112 of what they are, a shift and a mask, to be multiplied with
// 2^64 of what they go with. Infinity and not a number would come out as 2^16 and more.
struct scaled_half_t { uint16_t v; };
extern v128_t scaled_mask;   // a variable: V8 makes constants anew in every turn of a loop
INLINE vf load(const scaled_half_t* p, vi mask) { return from_bits(((vi)wasm_i32x4_load16x4(p) << 13) & mask); }
#endif
INLINE void store(half_t* p, vf v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__AVX2__)
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(OPENELM_NEON)
  vst1_u16((uint16_t*)p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)v)));
#elif defined(__wasm_simd128__)
  // As f32_to_f16, without branches.
  vi u = bits(v), sign = (u >> 16) & 0x8000, x = u & 0x7fffffff;
  vi high = x > 0x7f800000 ? (0x7e00 | ((x >> 13) & 0x3ff)) : (vi){} + 0x7c00;
  vi low = bits(from_bits(x) + 0.5f) - 0x3f000000;
  vi usual = (x + (int32_t)0xc8000fff + ((x >> 13) & 1)) >> 13;
  vi r = sign | (x >= 0x47800000 ? high : x < 0x38800000 ? low : (usual & 0xffff));
  wasm_v128_store64_lane(p, wasm_u16x8_narrow_i32x4((v128_t)r, (v128_t)r), 0);
#else
  for (int i = 0; i < W; i++) p[i].v = f32_to_f16(v[i]);
#endif
}
INLINE void store(bfloat_t* p, vf v) {
  vi u = bits(v);
  vi rounded = (u + 0x7fff + ((u >> 16) & 1)) >> 16, quiet = (u >> 16) | 0x40;
  vi r = (u & 0x7fffffff) > 0x7f800000 ? quiet : rounded;
  *(vh_memory*)p = __builtin_convertvector(r, vh);
}

// e^(x - n ln 2), for n the whole number nearest to x / ln 2.
INLINE vf exp_rest(vf x, vf n) {
  vf f = fma(n, splat(-0.693145752f), x);
  f = fma(n, splat(-1.42860677e-6f), f);
  vf p = splat(1.0f / 5040);
  p = fma(p, f, splat(1.0f / 720));
  p = fma(p, f, splat(1.0f / 120));
  p = fma(p, f, splat(1.0f / 24));
  p = fma(p, f, splat(1.0f / 6));
  p = fma(p, f, splat(0.5f));
  p = fma(p, f, splat(1.0f));
  return fma(p, f, splat(1.0f));
}

// e^x to about one unit in the last place; 0 and infinity beyond the range; not a number stays so.
INLINE vf vexp(vf x) {
  x = vmax(splat(-104.0f), x);
  x = -vmax(splat(-89.0f), -x);
  vf n = round_even(x * 1.44269504f);
  const vf p = exp_rest(x, n);
#if defined(__AVX512F__)
  return (vf)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  vi e = truncate(n), half = e >> 1;   // in two steps: 2^n alone leaves the range of normal numbers
  return p * from_bits((half + 127) << 23) * from_bits((e - half + 127) << 23);
#endif
}

// e^x for x that is not above 0 but by a rounding error: half of the instructions. 0 below -87.7.
INLINE vf vexp_down(vf x) {
  constexpr float kRound = 12582912.0f + 127;   // added, it leaves the nearest whole number, with the exponent's bias, in the lowest bits
  x = vmax(splat(-88.0f), x);   // of which the scale is 0
  const vf t = fma(x, splat(1.44269504f), splat(kRound)), n = t - kRound;
  const vf p = exp_rest(x, n);
  return p * from_bits(bits(t) << 23);
}

// ---- Transposing blocks of W x W: out[k][lane] = rows[lane][k] as f32

#if defined(__AVX512F__)
INLINE void transpose(__m512* r) {
  __m512 t[16];
  UNROLL
  for (int i = 0; i < 16; i += 2) { t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]); t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]); }
  UNROLL
  for (int i = 0; i < 16; i += 4) {
    UNROLL
    for (int j = 0; j < 2; j++) {
      __m512d a = _mm512_castps_pd(t[i + j]), b = _mm512_castps_pd(t[i + j + 2]);
      r[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      r[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  }
  UNROLL
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  UNROLL
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}
#elif defined(__AVX2__)
INLINE void transpose(__m256* r) {   // 8 x 8
  __m256 t[8];
  UNROLL
  for (int i = 0; i < 8; i += 2) { t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]); t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]); }
  UNROLL
  for (int i = 0; i < 8; i += 4) {
    UNROLL
    for (int j = 0; j < 2; j++) {
      r[i + 2 * j] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0x44);
      r[i + 2 * j + 1] = _mm256_shuffle_ps(t[i + j], t[i + j + 2], 0xee);
    }
  }
  UNROLL
  for (int i = 0; i < 4; i++) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
  UNROLL
  for (int i = 0; i < 8; i++) r[i] = t[i];
}
#else
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif
INLINE void transpose(vf* r) {   // 4 x 4
  vf a = SHUFFLE(r[0], r[1], 0, 4, 1, 5), b = SHUFFLE(r[0], r[1], 2, 6, 3, 7);
  vf c = SHUFFLE(r[2], r[3], 0, 4, 1, 5), d = SHUFFLE(r[2], r[3], 2, 6, 3, 7);
  r[0] = SHUFFLE(a, c, 0, 1, 4, 5);
  r[1] = SHUFFLE(a, c, 2, 3, 6, 7);
  r[2] = SHUFFLE(b, d, 0, 1, 4, 5);
  r[3] = SHUFFLE(b, d, 2, 3, 6, 7);
}
#endif

// out[k][16] = rows[lane][k] for k < count; lanes without a row (null) are 0. rows: 16 pointers.
template <class T>
NOINLINE void load_transposed(const T* const* rows, int64_t count, float* out) {
  int64_t k = 0;
  for (; k + W <= count; k += W) {
    UNROLL
    for (int lane = 0; lane < kPanel; lane += W) {
      vf r[W];
      UNROLL
      for (int j = 0; j < W; j++) r[j] = rows[lane + j] ? load(rows[lane + j] + k) : (vf){};
#if defined(__AVX512F__)
      transpose((__m512*)r);
#elif defined(__AVX2__)
      transpose((__m256*)r);
#else
      transpose(r);
#endif
      UNROLL
      for (int j = 0; j < W; j++) store(out + (k + j) * kPanel + lane, r[j]);
    }
  }
  for (; k < count; k++)
    for (int lane = 0; lane < kPanel; lane++) out[k * kPanel + lane] = rows[lane] ? element(rows[lane] + k) : 0;
}

}  // namespace openelm::OPENELM_ISA
