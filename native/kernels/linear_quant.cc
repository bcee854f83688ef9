// Products of quantized weights with rows quantized to int8 by groups of 32. Weights are unsigned (q8 +128, q4 +8), activations
// signed: the zero point is free, the integer sums of a group start at -zero * sum(x of the group). Affine weights have no zero point;
// their minimum is multiplied with the sum of the group's activations. One row and many rows run the same tile and agree to the bit. Blocks of rows that fit the second cache pass outside, panels of a chunk inside, then tiles of
// rows, whole inputs at a time.
#include "codes.h"

namespace openelm::OPENELM_ISA {

using namespace linear_op;

// Rows and panels of a tile; the last tile of all is narrower. With AVX2 the integer sums fill the registers, and the f32 ones
// wait in memory.
#if defined(__AVX512F__)
constexpr int kRows = 6, kPanels = 2, kPanelsOneRow = 1;
#elif defined(__AVX2__)
constexpr int kRows = 6, kPanels = 1, kPanelsOneRow = 1;
#elif defined(OPENELM_NEON)
constexpr int kRows = 6, kPanels = 1, kPanelsOneRow = 1;
#elif defined(__wasm_simd128__)
constexpr int kRows = kCodeRows % 5 == 0 ? 5 : 4, kPanels = 1, kPanelsOneRow = 2;
#else
constexpr int kRows = 2, kPanels = 1, kPanelsOneRow = 1;
#endif
static_assert(kCodeRows % kRows == 0, "whole tiles");
constexpr int64_t kBlockBytes = 384 << 10;   // of quantized rows, at least a tile

// With AVX2 many rows of q8, kCrossLeast or more, have a tile of their own (quant_cross.h): kCrossRows rows, of kCrossBlock that pass
// together, by kCrossGroups groups: what is unpacked of them stays in the first cache.
#if defined(__AVX2__) && !defined(__AVX512F__) && !defined(OPENELM_VNNI)
#define OPENELM_CROSS
#endif
constexpr int64_t kCrossRows = 4, kCrossBlock = 256, kCrossGroups = 8, kCrossLeast = 36;

// How codes of weights and rows are multiplied. A row's group is 8 or 16 words of 32 bits, each broadcast to a vector.
//   fours: u8 x s8 of four inputs to an int32: vpdpbusd, and the kernels without integer products.
//   nibbles: u4 x s8 (vpmaddubsw). The group's 16 products of 15 x 127 fit 16 bits, so sums are widened once: a multiplication
//     and an addition for 32 products.
//   pairs: bytes widened to 16 bits, even and odd inputs apart (vpmaddwd): two of each for 32 products. vpmaddubsw would saturate;
//     with |w| and the sign moved to x it takes as many instructions, and one kind more that needs a multiplier's port.
enum class Products { fours, nibbles, pairs };
template <DType T>
constexpr Products products() {
#if defined(__AVX2__) && !defined(OPENELM_VNNI)
  return code_bits(T) == 8 ? Products::pairs : Products::nibbles;
#elif defined(__wasm_relaxed_simd__) && !defined(OPENELM_DOT)
  return code_bits(T) == 8 ? Products::pairs : Products::nibbles;
#elif defined(__wasm_simd128__) && !defined(OPENELM_DOT)
  return Products::pairs;
#else
  return Products::fours;
#endif
}
template <DType T>
constexpr int words() { return products<T>() == Products::pairs ? 16 : 8; }

// Words of a row side by side: usmmla takes eight inputs at once.
#if defined(OPENELM_I8MM)
constexpr int kTogether = 2;
#else
constexpr int kTogether = 1;
#endif

// Quantized rows in the scratch. Tile t of h rows: codes [groups][words / kTogether][h][kTogether], scales and sums [groups][h]. Sums are
// what the integer sums start with; for affine weights those of the activations, as floats. Crossed tiles lie side by side for each
// kCrossGroups groups: such a block is read straight on.
struct Activations {
  int32_t* codes;
  float* scales;
  int32_t* sums;
  int64_t groups, words, tile;
  bool crossed;
};
// In bytes from the scratch's beginning.
struct Places { int64_t scales, sums, end; };
static Places places(const LinearPlan& p, int64_t words) {
  const int64_t groups = up(p.inputs, kGroup), scales = up(p.rows * groups * words, 16) * 64;
  const int64_t sums = scales + up(p.rows * groups, 16) * 64;
  return {scales, sums, sums + up(p.rows * groups, 16) * 64};
}
static int64_t words_of(const Weight& w) { return code_bits(w.dtype) == 8 ? words<kQ8>() : words<kQ4>(); }
static Activations activations(const Record& r, const LinearPlan& p) {
  const int64_t words = words_of(*r.operands[weight_].weight);
  const Places at = places(p, words);
  char* base = (char*)r.scratch;
  Activations a = {(int32_t*)base, (float*)(base + at.scales), (int32_t*)(base + at.sums), up(p.inputs, kGroup), words, kRows, false};
#if defined(OPENELM_CROSS)
  a.crossed = p.rows >= kCrossLeast && r.operands[weight_].weight->dtype == kQ8;
  if (a.crossed) a.tile = kCrossRows;
#endif
  return a;
}
// Of group g of the tile of h rows from m on: among scales and sums, and a group's words.
static int64_t place_of(const Activations& a, int64_t rows, int64_t m, int64_t h, int64_t g) {
  if (!a.crossed) return m * a.groups + g * h;
  const int64_t first = g / kCrossGroups * kCrossGroups;
  return first * rows + m * smaller(kCrossGroups, a.groups - first) + (g - first) * h;
}
size_t quant_scratch(const LinearPlan& p, const Weight& w) { return (size_t)places(p, words_of(w)).end; }

// A group's 32 codes.
#if defined(__AVX2__)
typedef __m256i Codes;
#else
struct Codes { int8_t code[kGroup]; };
#endif

// The integer maximum of the bits of |x| is the largest, and keeps what is not a number. The scale is none where x is infinite, too.
INLINE Codes quantize_group(const float* x, float* scale) {
  vi top = {};
  UNROLL
  for (int i = 0; i < kGroup; i += W) top = vmax_int(top, bits(vabs(load(x + i))));
  const float largest = float_of((uint32_t)largest_int(top));
  const float inverse = code_inverse(largest);
  *scale = code_scale(largest);
#if defined(__AVX512F__)
  const __m512i low = (__m512i)round_to_int(load(x) * inverse), high = (__m512i)round_to_int(load(x + W) * inverse);
  return _mm256_set_m128i(_mm512_cvtsepi32_epi8(high), _mm512_cvtsepi32_epi8(low));
#elif defined(__AVX2__)
  __m256i v[4];
  UNROLL
  for (int i = 0; i < 4; i++) v[i] = (__m256i)round_to_int(load(x + i * W) * inverse);
  const __m256i halves = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
  return _mm256_permutevar8x32_epi32(halves, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
#else
  Codes codes;
  UNROLL
  for (int i = 0; i < kGroup; i += W) store_bytes(codes.code + i, round_to_int(load(x + i) * inverse));
  return codes;
#endif
}

// -zero * sum of a group's codes: what its sums of products start with. Of affine weights the bits of scale * sum.
template <DType T>
INLINE int32_t start_of(const Codes& codes, float scale) {
  constexpr int factor = affine(T) ? 1 : -zero_of(T);
#if defined(__AVX2__)
  // Sums of the first two codes of each word, and of the last two.
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
  __m128i v = _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  v = _mm_add_epi16(v, _mm_shuffle_epi32(v, 0x4e));
  v = _mm_add_epi16(v, _mm_shuffle_epi32(v, 0xb1));
  // Sums in 16 bits have halves of their own; they wrap on the way, not in the end.
  if (T == kQ4 && products<T>() == Products::nibbles) return _mm_cvtsi128_si32(_mm_mullo_epi16(v, _mm_set1_epi16(factor)));
  const int32_t total = _mm_cvtsi128_si32(_mm_madd_epi16(v, _mm_set1_epi16(factor)));
#else
#if defined(__wasm_simd128__)
  // Sums in 16 bits as above.
  if (T == kQ4 && products<T>() == Products::nibbles) {
    v128_t v = wasm_i16x8_add(wasm_i16x8_extadd_pairwise_i8x16(wasm_v128_load(codes.code)), wasm_i16x8_extadd_pairwise_i8x16(wasm_v128_load(codes.code + 16)));
    v = wasm_i16x8_add(v, wasm_i32x4_shuffle(v, v, 2, 3, 0, 1));
    v = wasm_i16x8_add(v, wasm_i32x4_shuffle(v, v, 1, 0, 3, 2));
    return wasm_i32x4_extract_lane(wasm_i16x8_mul(v, wasm_i16x8_const_splat(factor)), 0);
  }
#endif
  int32_t total = 0;
  for (int8_t code : codes.code) total += code;
  total *= factor;
#endif
#if defined(OPENELM_NEON) || defined(__wasm_simd128__)
  return total;   // an affine weight's tile needs the integer too
#endif
  return affine(T) ? (int32_t)bits_of(scale * (float)total) : total;
}

#if defined(OPENELM_CROSS)
// The sum of x0 x1 over a group's pairs.
INLINE int32_t cross_sum(const Codes& codes) {
  const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(codes, 8), 8), odd = _mm256_srai_epi16(codes, 8);
  return sum_int((vi)_mm256_madd_epi16(even, odd));
}
#endif

INLINE void place(const Codes& eight, int32_t* out, int64_t step) {
  int32_t word[kGroup / 4];
  memcpy(word, &eight, sizeof word);
  UNROLL
  for (int i = 0; i < kGroup / 4; i++) out[i / kTogether * kTogether * step + i % kTogether] = word[i];
}
// A row's group to its words, h apart.
template <DType T>
INLINE void place_words(const Codes& codes, int32_t* out, int64_t h) {
#if defined(__wasm_simd128__)
  if (products<T>() == Products::pairs) {
    Codes even, odd;
    UNROLL
    for (int i = 0; i < kGroup; i += 16) {
      const v128_t v = wasm_v128_load(codes.code + i);
      wasm_v128_store(even.code + i, wasm_i16x8_shr(wasm_i16x8_shl(v, 8), 8));
      wasm_v128_store(odd.code + i, wasm_i16x8_shr(v, 8));
    }
    place(even, out, 2 * h);
    place(odd, out + h, 2 * h);
    return;
  }
#elif defined(__AVX2__)
  if (products<T>() == Products::pairs) {
    place(_mm256_srai_epi16(_mm256_slli_epi16(codes, 8), 8), out, 2 * h);
    place(_mm256_srai_epi16(codes, 8), out + h, 2 * h);
    return;
  }
#endif
  place(codes, out, h);
}

// A group of all rows of a tile, then the next: their words lie in the same lines.
template <DType T>
static void quantize_rows_of(const Record& r, const LinearPlan& p, Range row_panels) {
  const Activations a = activations(r, p);
  const int64_t whole = p.inputs / kGroup;
  const int64_t m1 = smaller(row_panels.end * kCodeRows, p.rows);
  for (int64_t m = row_panels.begin * kCodeRows; m < m1; m += a.tile) {
    const int64_t h = smaller(a.tile, p.rows - m);
    const float* x = floats(r, x_) + m * p.inputs;
    float tail[kGroup] = {};
    for (int64_t g = 0; g < a.groups; g++, x += kGroup) {
      int64_t at = place_of(a, p.rows, m, h, g);
      int32_t* out = a.codes + at * words<T>();
      for (int64_t row = 0; row < h; row++, at++) {
        const float* from = x + row * p.inputs;
        if (g == whole) from = (const float*)memcpy(tail, from, (size_t)(p.inputs - whole * kGroup) * sizeof(float));
        const Codes codes = quantize_group(from, a.scales + at);
        a.sums[at] = start_of<T>(codes, a.scales[at]);
#if defined(OPENELM_CROSS)
        if (a.crossed) a.sums[at] -= cross_sum(codes);
#endif
        place_words<T>(codes, out + row * kTogether, h);
      }
    }
  }
}
void quantize_rows(const Record& r, const LinearPlan& p, Range row_panels) {
  for_type(r.operands[weight_].weight->dtype, [&](auto type) { quantize_rows_of<type.value>(r, p, row_panels); });
}

// Where a tile reads and writes. Weights, scales: of the first panel, the next `panel_bytes`, `panel_scales` on.
struct QuantTile {
  int64_t groups;
  const uint8_t* weights;
  const uint16_t *weight_scales, *weight_minimums;
  int64_t panel_bytes, panel_scales;
  int shift;       // groups of the weight that share a scale: 1 << shift
  int64_t ahead;   // panels ahead whose weights are fetched meanwhile; 0: none
  const int32_t* codes;
  const float* scales;
  const int32_t* sums;
  TileOut out;
  bool usual;      // all scales are, as far as is known: see Weight
};

#if defined(__AVX2__)
// ---- Integer vectors and products in each instruction set. Weights of `load` give one operand or two; a sum takes operands times
// words by dot(), and is the signed sum of the group after finish().
#if defined(__AVX512F__)
typedef __m512i vb;
INLINE vb load_bytes(const void* p) { return _mm512_loadu_si512(p); }
INLINE vb splat_word(int32_t word) { return _mm512_set1_epi32(word); }
INLINE vb shift_words(vb v, int n) { return _mm512_srli_epi16(v, (unsigned)n); }
INLINE vb lift_words(vb v, int n) { return _mm512_slli_epi16(v, (unsigned)n); }
INLINE vb either(vb a, vb b) { return _mm512_or_si512(a, b); }
INLINE vb mask_words(vb v, int16_t mask) { return _mm512_and_si512(v, _mm512_set1_epi16(mask)); }
INLINE vb dot_pairs(vb a, vb w, vb x) { return _mm512_add_epi32(a, _mm512_madd_epi16(w, x)); }
INLINE vb dot_nibbles(vb a, vb w, vb x) { return _mm512_add_epi16(a, _mm512_maddubs_epi16(w, x)); }
INLINE vb widen_pairs(vb a) { return _mm512_madd_epi16(a, _mm512_set1_epi16(1)); }
#else
typedef __m256i vb;
INLINE vb load_bytes(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
INLINE vb splat_word(int32_t word) { return _mm256_set1_epi32(word); }
INLINE vb shift_words(vb v, int n) { return _mm256_srli_epi16(v, n); }
INLINE vb lift_words(vb v, int n) { return _mm256_slli_epi16(v, n); }
INLINE vb either(vb a, vb b) { return _mm256_or_si256(a, b); }
INLINE vb mask_words(vb v, int16_t mask) { return _mm256_and_si256(v, _mm256_set1_epi16(mask)); }
INLINE vb dot_pairs(vb a, vb w, vb x) { return _mm256_add_epi32(a, _mm256_madd_epi16(w, x)); }
INLINE vb dot_nibbles(vb a, vb w, vb x) { return _mm256_add_epi16(a, _mm256_maddubs_epi16(w, x)); }
INLINE vb widen_pairs(vb a) { return _mm256_madd_epi16(a, _mm256_set1_epi16(1)); }
#endif
INLINE vb dot_fours(vb a, vb w, vb x) {
#if !defined(OPENELM_VNNI)
  return a;   // has no use
#elif defined(__AVX512F__)
  return _mm512_dpbusd_epi32(a, w, x);
#elif defined(OPENELM_EVEX)
  return _mm256_dpbusd_epi32(a, w, x);
#else
  return _mm256_dpbusd_avx_epi32(a, w, x);
#endif
}

// The weights of word i of a group, W outputs from `w` on.
template <DType T>
INLINE vb operand(const uint8_t* w, int i) {
  if (code_bits(T) == 3) {
    const vb low = load_bytes(w + i / 4 * 64), high = load_bytes(w + 128);
    const vb third = i < 2 ? lift_words(high, 2 - i) : shift_words(high, i - 2);
    return either(mask_words(shift_words(low, i % 4 * 2), 0x0303), mask_words(third, 0x0404));
  }
  if (code_bits(T) == 4) return mask_words(i % 2 ? shift_words(load_bytes(w + i / 2 * 64), 4) : load_bytes(w + i / 2 * 64), 0x0f0f);
  if (products<T>() == Products::fours) return load_bytes(w + i * 64);
  return i % 2 ? shift_words(load_bytes(w + i / 2 * 64), 8) : mask_words(load_bytes(w + i / 2 * 64), 0xff);
}
template <DType T>
INLINE vb dot(vb a, vb w, vb x) {
  if (products<T>() == Products::fours) return dot_fours(a, w, x);
  a = products<T>() == Products::nibbles ? dot_nibbles(a, w, x) : dot_pairs(a, w, x);
  asm("" : "+v"(a));   // or GCC reorders the sum, and keeps all its products in memory
  return a;
}
template <DType T>
INLINE vb finish(vb a) { return products<T>() == Products::nibbles ? widen_pairs(a) : a; }

// R rows x B panels. A function of its own, the group a constant: both are worth tens of percent.
template <int R, int B, DType T>
NOINLINE void quant_tile(const QuantTile& z) {
  constexpr int C = B * NV, kLines = code_bits(T), kWords = words<T>();
  // One row reads memory straight on. The CPU fetches that ahead by itself, to where 8 bits are fast enough; others fetch 6 KiB ahead into
  // the first cache. More rows fetch what follows while their first tile passes.
  constexpr bool kFetch = R > 1 || kLines < 8;
  constexpr int kGroupsAhead = 96 / kLines;
  const int64_t ahead = R == 1 ? kGroupsAhead * kLines * 64 : z.ahead * z.panel_bytes;
  const int64_t ahead_scales = R == 1 ? kGroupsAhead * kPanel : z.ahead * z.panel_scales;
  const uint8_t* w = z.weights;
  const int64_t panel_bytes = z.panel_bytes, panel_scales = z.panel_scales, groups = z.groups;
  const uint16_t *weight_scales = z.weight_scales, *weight_minimums = z.weight_minimums;
  const int shift = z.shift;
  const int32_t* x = z.codes;
  const float* scales = z.scales;
  const int32_t* sums = z.sums;
  vf f[R][C];
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < B; j++) {
      __builtin_prefetch(z.out.c + r * z.out.stride + j * kPanel, 1);
      if (z.out.residual) __builtin_prefetch(z.out.residual + r * z.out.stride + j * kPanel);
    }
    UNROLL
    for (int j = 0; j < C; j++) f[r][j] = (vf){};
  }
  for (int64_t g = 0; g < groups; g++, w += kLines * 64, x += words<T>() * R, scales += R, sums += R) {
    vb a[R][C];
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < C; j++) a[r][j] = splat_word(affine(T) ? 0 : sums[r]);
    }
    UNROLL
    for (int j = 0; j < B && kFetch; j++) {
      UNROLL
      for (int line = 0; line < kLines; line++) __builtin_prefetch(w + j * panel_bytes + line * 64 + ahead, 0, R == 1 ? 3 : 2);
    }
    UNROLL
    for (int i = 0; i < kWords; i++) {
      vb v[C];
      UNROLL
      for (int j = 0; j < C; j++) v[j] = operand<T>(w + j / NV * panel_bytes + j % NV * (W * 4), i);
      UNROLL
      for (int r = 0; r < R; r++) {
        vb word = splat_word(x[i * R + r]);
        UNROLL
        for (int j = 0; j < C; j++) a[r][j] = dot<T>(a[r][j], v[j], word);
      }
    }
    vf d[C], least[C];
    UNROLL
    for (int j = 0; j < C; j++) {
      const int64_t at = j / NV * panel_scales + (affine(T) ? g >> shift : g) * kPanel + j % NV * W;
      if (kFetch && j % NV == 0) __builtin_prefetch(weight_scales + at + ahead_scales, 0, 2);
      if (kFetch && affine(T) && j % NV == 0) __builtin_prefetch(weight_minimums + at + ahead_scales, 0, 2);
      d[j] = load((const half_t*)(weight_scales + at));
      if (affine(T)) least[j] = load((const half_t*)(weight_minimums + at));
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < C; j++) {
        f[r][j] = fma(to_float((vi)finish<T>(a[r][j])), d[j] * splat(scales[r]), f[r][j]);
        if (affine(T)) f[r][j] = fma(least[j], splat(float_of((uint32_t)sums[r])), f[r][j]);
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
#if defined(OPENELM_CROSS)
}  // namespace openelm::OPENELM_ISA
#include "quant_cross.h"
namespace openelm::OPENELM_ISA {
#endif
#elif defined(OPENELM_NEON)
}  // namespace openelm::OPENELM_ISA
#include "quant_neon.h"
namespace openelm::OPENELM_ISA {
#elif defined(__wasm_simd128__)
}  // namespace openelm::OPENELM_ISA
#include "quant_wasm.h"
namespace openelm::OPENELM_ISA {
#else
// Without integer products: a group's codes and activations as floats, whose sums of 32 products are exact all the same.
template <int R, int B, DType T>
NOINLINE void quant_tile(const QuantTile& z) {
  static_assert(B == 1, "one panel at once");
  vf f[R][NV] = {};
  for (int64_t g = 0; g < z.groups; g++) {
    vf a[R][NV] = {};
    for (int i = 0; i < 8; i++) {
      UNROLL
      for (int j = 0; j < NV; j++) {
        const vi v = four_codes<T>(z.weights + g * group_bytes(T), i, j * W);
        UNROLL
        for (int t = 0; t < 4; t++) {
          vf w = to_float(((v >> (8 * t)) & 255) - zero_of(T));
          UNROLL
          for (int r = 0; r < R; r++) a[r][j] += w * (float)((const int8_t*)z.codes)[((g * 8 + i) * R + r) * 4 + t];
        }
      }
    }
    UNROLL
    for (int j = 0; j < NV; j++) {
      const int64_t at = (affine(T) ? g >> z.shift : g) * kPanel + j * W;
      const vf d = load((const half_t*)(z.weight_scales + at));
      UNROLL
      for (int r = 0; r < R; r++) {
        f[r][j] += a[r][j] * (d * z.scales[g * R + r]);
        if (affine(T)) f[r][j] += load((const half_t*)(z.weight_minimums + at)) * float_of((uint32_t)z.sums[g * R + r]);
      }
    }
  }
  for (int r = 0; r < R; r++)
    for (int j = 0; j < NV; j++) {
      float* c = z.out.c + r * z.out.stride + j * W;
      store(c, z.out.residual ? f[r][j] + load(z.out.residual + r * z.out.stride + j * W) : f[r][j]);
    }
}
#endif

template <int B, DType T>
static void tile_of(int64_t rows, const QuantTile& z) {
  if (rows == kRows) return quant_tile<kRows, B, T>(z);
  switch (rows) {
    case 1: return quant_tile<1, B, T>(z);
    case 2: return quant_tile<2, B, T>(z);
    case 3: return quant_tile<3, B, T>(z);
    case 4: return quant_tile<4, B, T>(z);
    default: return quant_tile<5, B, T>(z);
  }
}

template <DType T>
static void quant_panels(const Record& r, const LinearPlan& p, int64_t p0, int64_t p1, int64_t m0, int64_t m1) {
  const Weight& w = *r.operands[weight_].weight;
  const Activations a = activations(r, p);
  const float* residual = floats(r, residual_);
  for (int64_t panel = p0; panel < p1;) {
    const int64_t column = panel * kPanel;
    int64_t at_once = p.rows == 1 ? kPanelsOneRow : kPanels;
    if (panel + at_once > p1 || column + at_once * kPanel > p.outputs) at_once = 1;
    QuantTile z;
    z.groups = a.groups;
    z.panel_bytes = a.groups * group_bytes(T);
    z.panel_scales = w.groups() * kPanel;
    z.shift = w.group == kGroup ? 0 : w.group == 2 * kGroup ? 1 : 2;
    z.weights = w.data + panel * z.panel_bytes;
    z.weight_scales = w.scales + panel * z.panel_scales;
    z.weight_minimums = affine(T) ? w.minimums + panel * z.panel_scales : nullptr;
    z.usual = !__atomic_load_n(&w.unusual, __ATOMIC_RELAXED);
    for (int64_t m = m0; m < m1; m += kRows) {
      const int64_t rows = smaller(kRows, p.rows - m), at = m * p.outputs + column;
      z.ahead = m == m0 && panel + 2 * at_once <= p1 ? at_once : 0;
      z.codes = a.codes + m * a.groups * a.words;
      z.scales = a.scales + m * a.groups;
      z.sums = a.sums + m * a.groups;
      z.out = {floats(r, out_) + at, p.outputs, residual ? residual + at : nullptr, false};
#if defined(__wasm_simd128__) && !defined(OPENELM_DOT)
      if (!affine(T) && m1 - m >= kManyRows && column + kPanel <= p.outputs) {
        m += many_rows<affine(T) ? kQ8 : T>(z, a.words, m1 - m) - kRows;
        continue;
      }
#endif
      alignas(64) float block[kRows * kPanel];
      const TileOut out = z.out;
      const int64_t width = p.outputs - column;
      if (width < kPanel) z.out = {block, kPanel, nullptr, false};   // the last panel reaches beyond the outputs
      if (at_once == kPanelsOneRow && p.rows == 1) quant_tile<1, kPanelsOneRow, T>(z);
      else if (at_once == kPanels) tile_of<kPanels, T>(rows, z);
      else tile_of<1, T>(rows, z);
      if (width < kPanel)
        for (int64_t i = 0; i < rows; i++)
          for (int64_t c = 0; c < width; c++) {
            const int64_t to = i * p.outputs + c;
            out.c[to] = block[i * kPanel + c] + (out.residual ? out.residual[to] : 0);
          }
    }
    panel += at_once;
  }
}

void quant_gemm(const Record& r, const LinearPlan& p, int64_t p0, int64_t p1, int64_t m0, int64_t m1) {
  const Activations a = activations(r, p);
  const int64_t row_bytes = a.groups * a.words * (int64_t)sizeof(int32_t);
  const int64_t block = a.crossed ? kCrossBlock : larger(kBlockBytes / (row_bytes * kRows), 1) * kRows;
  for (int64_t m = m0; m < m1; m += block) {
    const int64_t end = smaller(m + block, m1);
#if defined(OPENELM_CROSS)
    if (a.crossed) {
      cross_panels(r, p, a, p0, p1, m, end);
      continue;
    }
#endif
    for_type(r.operands[weight_].weight->dtype, [&](auto type) { quant_panels<type.value>(r, p, p0, p1, m, end); });
  }
}

}  // namespace openelm::OPENELM_ISA
