// Many rows of q8 with AVX2, by Winograd's way to make an inner product (IEEE Trans. Comput. C-17, 1968): w0 x0 + w1 x1 =
// (w0 + x1) (w1 + x0) - w0 w1 - x0 x1. A group's sums of w0 w1 and of x0 x1 are made once, so 32 products take one multiplication and
// three additions instead of two of each. Additions have more of a CPU's pipes to go to: one or two of three or four multiply.
// The integers are quant_tile()'s, so one row and many agree to the bit. Part of linear_quant.cc.
#pragma once

namespace openelm::OPENELM_ISA {

// A panel's group: even and odd inputs of each word apart, 16 bits each; -the sum of their products; scales.
struct CrossGroup {
  alignas(32) __m256i codes[kGroup / 4][2][NV];
  __m256i start[NV];
  vf scales[NV];
};

static void unpack_groups(const uint8_t* weights, const uint16_t* scales, int64_t groups, CrossGroup* out) {
  for (int64_t g = 0; g < groups; g++, out++) {
    __m256i total[NV] = {};
    for (int i = 0; i < kGroup / 4; i++, weights += 64) {
      __builtin_prefetch(weights + kCrossGroups * group_bytes(kQ8), 0, 2);
      UNROLL
      for (int j = 0; j < NV; j++) {
        const vb v = load_bytes(weights + j * 32), even = mask_words(v, 0xff), odd = shift_words(v, 8);
        out->codes[i][0][j] = even;
        out->codes[i][1][j] = odd;
        total[j] = _mm256_sub_epi32(total[j], _mm256_madd_epi16(even, odd));
      }
    }
    UNROLL
    for (int j = 0; j < NV; j++) {
      out->start[j] = total[j];
      out->scales[j] = load((const half_t*)(scales + g * kPanel + j * W));
    }
  }
}

// f [R][16] += these groups of R rows and a panel. A function of its own, as quant_tile() is.
template <int R>
NOINLINE void cross_tile(const CrossGroup* w, int64_t groups, const int32_t* x, const float* scales, const int32_t* sums, float* to) {
  vf f[R][NV];
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < NV; j++) f[r][j] = load(to + r * kPanel + j * W);
  }
  for (int64_t g = 0; g < groups; g++, w++, x += words<kQ8>() * R, scales += R, sums += R) {
    vb a[R][NV];
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < NV; j++) a[r][j] = _mm256_add_epi32(splat_word(sums[r]), w->start[j]);
    }
    UNROLL
    for (int i = 0; i < kGroup / 4; i++) {
      vb even[NV], odd[NV];
      UNROLL
      for (int j = 0; j < NV; j++) {
        even[j] = w->codes[i][0][j];
        odd[j] = w->codes[i][1][j];
      }
      UNROLL
      for (int r = 0; r < R; r++) {
        const vb x_even = splat_word(x[2 * i * R + r]), x_odd = splat_word(x[(2 * i + 1) * R + r]);
        UNROLL
        for (int j = 0; j < NV; j++) {
          a[r][j] = dot_pairs(a[r][j], _mm256_add_epi16(even[j], x_odd), _mm256_add_epi16(odd[j], x_even));
          asm("" : "+v"(a[r][j]));   // see dot()
        }
      }
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < NV; j++) f[r][j] = fma(to_float((vi)a[r][j]), w->scales[j] * splat(scales[r]), f[r][j]);
    }
  }
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < NV; j++) store(to + r * kPanel + j * W, f[r][j]);
  }
}

// Of rows [m, m + rows), from a column on.
INLINE void prefetch_out(const Record& r, const LinearPlan& p, int64_t m, int64_t rows, int64_t column) {
  for (int64_t at = m * p.outputs + column; rows > 0; rows--, at += p.outputs) {
    __builtin_prefetch(floats(r, out_) + at, 1);
    if (floats(r, residual_)) __builtin_prefetch(floats(r, residual_) + at);
  }
}
INLINE void store_out(const Record& r, const LinearPlan& p, int64_t m, int64_t rows, int64_t column, const float* from) {
  float *out = floats(r, out_), *residual = floats(r, residual_);
  const int64_t width = smaller(kPanel, p.outputs - column);
  for (int64_t to = m * p.outputs + column; rows > 0; rows--, to += p.outputs, from += kPanel) {
    for (int64_t c = 0; c + W <= width; c += W) store(out + to + c, residual ? load(from + c) + load(residual + to + c) : load(from + c));
    for (int64_t c = width / W * W; c < width; c++) out[to + c] = residual ? from[c] + residual[to + c] : from[c];
  }
}

static void cross_panels(const Record& r, const LinearPlan& p, const Activations& a, int64_t p0, int64_t p1, int64_t m0, int64_t m1) {
  const Weight& w = *r.operands[weight_].weight;
  CrossGroup unpacked[kCrossGroups];
  alignas(64) float sums[kCrossBlock * kPanel];
  for (int64_t panel = p0; panel < p1; panel++) {
    memset(sums, 0, (size_t)((m1 - m0) * kPanel) * sizeof(float));
    for (int64_t g = 0; g < a.groups; g += kCrossGroups) {
      const int64_t groups = smaller(kCrossGroups, a.groups - g), at = panel * a.groups + g;
      unpack_groups(w.data + at * group_bytes(kQ8), w.scales + at * kPanel, groups, unpacked);
      for (int64_t m = m0; m < m1; m += kCrossRows) {
        const int64_t rows = smaller(kCrossRows, m1 - m), first = place_of(a, p.rows, m, rows, g);
        float* block = sums + (m - m0) * kPanel;
        const bool last = g + groups == a.groups;
        if (last) prefetch_out(r, p, m, rows, panel * kPanel);
        auto tile = rows == 4 ? cross_tile<4> : rows == 3 ? cross_tile<3> : rows == 2 ? cross_tile<2> : cross_tile<1>;
        tile(unpacked, groups, a.codes + first * a.words, a.scales + first, a.sums + first, block);
        if (last) store_out(r, p, m, rows, panel * kPanel, block);
      }
    }
  }
}

}  // namespace openelm::OPENELM_ISA
