// Products of q8 and q4 weights with rows quantized to int8 by groups of 32. Weights are unsigned (+128, +8), activations
// signed: the zero point is free, the int32 sums of a group start at -zero * sum(x of the group). One row and many rows run the
// same tile and agree to the bit. Panels of a chunk pass outside, tiles of rows inside, whole inputs at a time.
#include "internal.h"

namespace openelm::OPENELM_ISA {

using namespace linear_op;

// Rows of a tile; the last tile of all is narrower.
#if defined(__AVX512F__)
constexpr int kRows = 6, kPanels = 2, kPanelsOneRow = 4;
#elif defined(__AVX2__)
constexpr int kRows = 4, kPanels = 1, kPanelsOneRow = 2;
#else
constexpr int kRows = 2, kPanels = 1, kPanelsOneRow = 1;
#endif

// Quantized rows in the scratch. Tile t of h rows: codes [inputs/4][h][4], scales and sums [inputs/32][h].
struct Activations {
  int8_t* codes;
  float* scales;
  int32_t* sums;
  int64_t groups;
};
static Activations activations(const LinearPlan& p, void* scratch) {
  Activations a;
  a.groups = up(p.inputs, kGroup);
  a.codes = (int8_t*)scratch;
  a.scales = (float*)(a.codes + up(p.rows * a.groups * kGroup, 64) * 64);
  a.sums = (int32_t*)(a.scales + up(p.rows * a.groups, 16) * 16);
  return a;
}
size_t quant_scratch(const LinearPlan& p) {
  const int64_t groups = up(p.inputs, kGroup);
  return (size_t)(up(p.rows * groups * kGroup, 64) * 64 + up(p.rows * groups, 16) * 128);
}

// One group of 32: codes to `out`, four at a time `stride` bytes apart; returns their sum. The integer maximum of the bits of
// |x| is the largest, and keeps what is not a number.
INLINE int32_t quantize_group(const float* x, int8_t* out, int64_t stride, float* scale) {
  vi top = {};
  UNROLL
  for (int i = 0; i < kGroup; i += W) top = vmax_int(top, bits(vabs(load(x + i))));
  const float largest = float_of((uint32_t)largest_int(top));
  float inverse = 127.0f / largest;
  if (!(inverse <= 3.402823466e38f)) inverse = 0;
  *scale = largest / 127.0f;
  alignas(64) int8_t codes[kGroup];
  vi total = {};
  UNROLL
  for (int i = 0; i < kGroup; i += W) {
    vi v = round_to_int(load(x + i) * inverse);
    total += v;
    store_bytes(codes + i, v);
  }
  UNROLL
  for (int i = 0; i < kGroup; i += 4) memcpy(out + i / 4 * stride, codes + i, 4);
  return sum_int(total);
}

void quantize_rows(const Record& r, const LinearPlan& p, Range row_panels) {
  const Activations a = activations(p, r.scratch);
  const int32_t zero = r.operands[weight_].weight->dtype == kQ8 ? 128 : 8;
  const int64_t whole = p.inputs / kGroup;
  const int64_t m1 = smaller(row_panels.end * kRowPanel, p.rows);
  for (int64_t m = row_panels.begin * kRowPanel; m < m1; m++) {
    const int64_t first = m / kRows * kRows, h = smaller(kRows, p.rows - first), lane = m - first;
    const float* x = floats(r, x_) + m * p.inputs;
    int8_t* codes = a.codes + first * a.groups * kGroup + lane * 4;
    float* scales = a.scales + first * a.groups + lane;
    int32_t* sums = a.sums + first * a.groups + lane;
    for (int64_t g = 0; g < whole; g++)
      sums[g * h] = -zero * quantize_group(x + g * kGroup, codes + g * 8 * h * 4, h * 4, scales + g * h);
    if (whole < a.groups) {
      float tail[kGroup] = {};
      memcpy(tail, x + whole * kGroup, (size_t)(p.inputs - whole * kGroup) * sizeof(float));
      sums[whole * h] = -zero * quantize_group(tail, codes + whole * 8 * h * 4, h * 4, scales + whole * h);
    }
  }
}

// Where a tile reads and writes. Weights, scales: of the first panel, the next `panel_bytes`, `panel_scales` on.
struct QuantTile {
  int64_t groups;
  const uint8_t* weights;
  const uint16_t* weight_scales;
  int64_t panel_bytes, panel_scales;
  int64_t ahead;   // panels ahead whose weights are fetched meanwhile; 0: none
  const int8_t* codes;
  const float* scales;
  const int32_t* sums;
  TileOut out;
};

#if defined(__AVX2__)
// ---- The integer vectors and the dot product of four bytes in each instruction set. A sum starts at start(), takes products
// by dot(), and is a signed sum of the group after finish().
#if defined(__AVX512F__)
typedef __m512i vb;
INLINE vb load_bytes(const void* p) { return _mm512_loadu_si512(p); }
INLINE vb splat_bytes(int32_t four) { return _mm512_set1_epi32(four); }
INLINE vb low_nibbles(vb v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
INLINE vb high_nibbles(vb v) { return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15)); }
#else
typedef __m256i vb;
INLINE vb load_bytes(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
INLINE vb splat_bytes(int32_t four) { return _mm256_set1_epi32(four); }
INLINE vb low_nibbles(vb v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
INLINE vb high_nibbles(vb v) { return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)); }
#endif

#if defined(OPENELM_VNNI)
struct Codes { vb u; };
template <int BITS> INLINE Codes codes_of(vb v) { return {v}; }
#if defined(__AVX512F__)
template <int BITS> INLINE vb start(int32_t sum) { return _mm512_set1_epi32(sum); }
template <int BITS> INLINE vb dot(vb a, Codes w, vb x) { return _mm512_dpbusd_epi32(a, w.u, x); }
#else
template <int BITS> INLINE vb start(int32_t sum) { return _mm256_set1_epi32(sum); }
#if defined(OPENELM_EVEX)
template <int BITS> INLINE vb dot(vb a, Codes w, vb x) { return _mm256_dpbusd_epi32(a, w.u, x); }
#else
template <int BITS> INLINE vb dot(vb a, Codes w, vb x) { return _mm256_dpbusd_avx_epi32(a, w.u, x); }
#endif
#endif
template <int BITS> INLINE vb finish(vb a, int32_t) { return a; }
#else
// maddubs saturates at 16 bits with bytes up to 255: q8 takes |w| and moves the sign to x. Eight q4 products of 4 x 15 x 127
// fit 16 bits, so they are widened once a group.
struct Codes { vb u, sign; };
#if defined(__AVX512F__)
template <int BITS> INLINE Codes codes_of(vb v) {
  if (BITS == 4) return {v, v};
  vb s = _mm512_xor_si512(v, _mm512_set1_epi8((char)0x80));
  return {_mm512_abs_epi8(s), s};
}
template <int BITS> INLINE vb start(int32_t) { return _mm512_setzero_si512(); }
template <int BITS> INLINE vb dot(vb a, Codes w, vb x) {
  if (BITS == 4) return _mm512_add_epi16(a, _mm512_maddubs_epi16(w.u, x));
  vb signed_x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w.sign), _mm512_setzero_si512(), x);
  return _mm512_add_epi32(a, _mm512_madd_epi16(_mm512_maddubs_epi16(w.u, signed_x), _mm512_set1_epi16(1)));
}
template <int BITS> INLINE vb finish(vb a, int32_t sum) {
  return BITS == 8 ? a : _mm512_add_epi32(_mm512_madd_epi16(a, _mm512_set1_epi16(1)), _mm512_set1_epi32(sum));
}
#else
template <int BITS> INLINE Codes codes_of(vb v) {
  if (BITS == 4) return {v, v};
  vb s = _mm256_xor_si256(v, _mm256_set1_epi8((char)0x80));
  return {_mm256_abs_epi8(s), s};
}
template <int BITS> INLINE vb start(int32_t) { return _mm256_setzero_si256(); }
template <int BITS> INLINE vb dot(vb a, Codes w, vb x) {
  if (BITS == 4) return _mm256_add_epi16(a, _mm256_maddubs_epi16(w.u, x));
  vb products = _mm256_maddubs_epi16(w.u, _mm256_sign_epi8(x, w.sign));
  return _mm256_add_epi32(a, _mm256_madd_epi16(products, _mm256_set1_epi16(1)));
}
template <int BITS> INLINE vb finish(vb a, int32_t sum) {
  return BITS == 8 ? a : _mm256_add_epi32(_mm256_madd_epi16(a, _mm256_set1_epi16(1)), _mm256_set1_epi32(sum));
}
#endif
#endif

// R rows x B panels. A function of its own, the group a constant: both are worth tens of percent.
template <int R, int B, int BITS>
NOINLINE void quant_tile(const QuantTile& z) {
  constexpr int C = B * NV, kStep = BITS == 8 ? 64 : 32;   // weight bytes of four inputs in a panel
  // One row streams four panels; more rows fetch the panels that follow while their first tile passes.
  const int64_t ahead = R == 1 ? 2048 : z.ahead * z.panel_bytes, ahead_scales = R == 1 ? 64 : z.ahead * z.panel_scales;
  const uint8_t* w = z.weights;
  const int64_t panel_bytes = z.panel_bytes, panel_scales = z.panel_scales, groups = z.groups;
  const uint16_t* weight_scales = z.weight_scales;
  const int32_t* x = (const int32_t*)z.codes;
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
  for (int64_t g = 0; g < groups; g++, w += 8 * kStep, x += 8 * R, scales += R, sums += R) {
    vb a[R][C];
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < C; j++) a[r][j] = start<BITS>(sums[r]);
    }
    UNROLL
    for (int i = 0; i < 8; i += BITS == 8 ? 1 : 2) {
      Codes low[C], high[C];
      UNROLL
      for (int j = 0; j < C; j++) {
        const uint8_t* p = w + j / NV * panel_bytes + i * kStep + j % NV * (W * 4);
        if (j % NV == 0) __builtin_prefetch(p + ahead, 0, 2);
        vb v = load_bytes(p);
        low[j] = codes_of<BITS>(BITS == 8 ? v : low_nibbles(v));
        if (BITS == 4) high[j] = codes_of<BITS>(high_nibbles(v));
      }
      UNROLL
      for (int r = 0; r < R; r++) {
        vb v = splat_bytes(x[i * R + r]);
        UNROLL
        for (int j = 0; j < C; j++) a[r][j] = dot<BITS>(a[r][j], low[j], v);
      }
      if (BITS == 4) {
        UNROLL
        for (int r = 0; r < R; r++) {
          vb v = splat_bytes(x[(i + 1) * R + r]);
          UNROLL
          for (int j = 0; j < C; j++) a[r][j] = dot<BITS>(a[r][j], high[j], v);
        }
      }
    }
    vf d[C];
    UNROLL
    for (int j = 0; j < C; j++) {
      const uint16_t* p = weight_scales + j / NV * panel_scales + g * kPanel + j % NV * W;
      if (j % NV == 0) __builtin_prefetch(p + ahead_scales, 0, 2);
      d[j] = load((const half_t*)p);
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < C; j++) f[r][j] = fma(to_float((vi)finish<BITS>(a[r][j], sums[r])), d[j] * splat(scales[r]), f[r][j]);
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
#else
// Without integer products: a group's codes and activations as floats, whose sums of 32 products are exact all the same.
template <int R, int B, int BITS>
NOINLINE void quant_tile(const QuantTile& z) {
  static_assert(B == 1, "one panel at once");
  vf f[R][NV] = {};
  for (int64_t g = 0; g < z.groups; g++) {
    vf a[R][NV] = {};
    for (int i = 0; i < 8; i++) {
      UNROLL
      for (int j = 0; j < NV; j++) {
        vi v = load_int(z.weights + (g * 8 + i - (BITS == 8 ? 0 : i % 2)) * (BITS == 8 ? 64 : 32) + j * W * 4);
        if (BITS == 4) v = (i % 2 ? v >> 4 : v) & 0x0f0f0f0f;
        UNROLL
        for (int t = 0; t < 4; t++) {
          vf w = to_float(((v >> (8 * t)) & 255) - (BITS == 8 ? 128 : 8));
          UNROLL
          for (int r = 0; r < R; r++) a[r][j] += w * (float)z.codes[((g * 8 + i) * R + r) * 4 + t];
        }
      }
    }
    UNROLL
    for (int j = 0; j < NV; j++) {
      vf d = load((const half_t*)(z.weight_scales + g * kPanel + j * W));
      UNROLL
      for (int r = 0; r < R; r++) f[r][j] += a[r][j] * (d * z.scales[g * R + r]);
    }
  }
  for (int r = 0; r < R; r++)
    for (int j = 0; j < NV; j++) {
      float* c = z.out.c + r * z.out.stride + j * W;
      store(c, z.out.residual ? f[r][j] + load(z.out.residual + r * z.out.stride + j * W) : f[r][j]);
    }
}
#endif

template <int B, int BITS>
static void tile_of(int64_t rows, const QuantTile& z) {
  if (rows == kRows) return quant_tile<kRows, B, BITS>(z);
  switch (rows) {
    case 1: return quant_tile<1, B, BITS>(z);
    case 2: return quant_tile<2, B, BITS>(z);
    case 3: return quant_tile<3, B, BITS>(z);
    case 4: return quant_tile<4, B, BITS>(z);
    default: return quant_tile<5, B, BITS>(z);
  }
}

template <int BITS>
static void quant_panels(const Record& r, const LinearPlan& p, int64_t p0, int64_t p1, int64_t m0, int64_t m1) {
  const Weight& w = *r.operands[weight_].weight;
  const Activations a = activations(p, r.scratch);
  const float* residual = floats(r, residual_);
  for (int64_t panel = p0; panel < p1;) {
    const int64_t column = panel * kPanel;
    int64_t at_once = p.rows == 1 ? kPanelsOneRow : kPanels;
    if (panel + at_once > p1 || column + at_once * kPanel > p.outputs) at_once = 1;
    QuantTile z;
    z.groups = a.groups;
    z.panel_bytes = a.groups * (BITS == 8 ? 512 : 256);
    z.panel_scales = a.groups * kPanel;
    z.weights = w.data + panel * z.panel_bytes;
    z.weight_scales = w.scales + panel * z.panel_scales;
    for (int64_t m = m0; m < m1; m += kRows) {
      const int64_t rows = smaller(kRows, p.rows - m), at = m * p.outputs + column;
      z.ahead = m == m0 && panel + 2 * at_once <= p1 ? at_once : 0;
      z.codes = a.codes + m * a.groups * kGroup;
      z.scales = a.scales + m * a.groups;
      z.sums = a.sums + m * a.groups;
      z.out = {floats(r, out_) + at, p.outputs, residual ? residual + at : nullptr, false};
      alignas(64) float block[kRows * kPanel];
      const TileOut out = z.out;
      const int64_t width = p.outputs - column;
      if (width < kPanel) z.out = {block, kPanel, nullptr, false};   // the last panel reaches beyond the outputs
      if (at_once == kPanelsOneRow && p.rows == 1) quant_tile<1, kPanelsOneRow, BITS>(z);
      else if (at_once == kPanels) tile_of<kPanels, BITS>(rows, z);
      else tile_of<1, BITS>(rows, z);
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
  if (r.operands[weight_].weight->dtype == kQ8) quant_panels<8>(r, p, p0, p1, m0, m1);
  else quant_panels<4>(r, p, p0, p1, m0, m1);
}

}  // namespace openelm::OPENELM_ISA
