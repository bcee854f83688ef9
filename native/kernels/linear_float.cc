// Products with f32, f16 and bf16 weights, and with quantized weights made f32 (`int8` 0). Up to six rows read the weights in
// place, a few panels at once; more rows unpack a block of a panel pair to f32, which stays in the first cache while all pass.
#include "internal.h"

namespace openelm::OPENELM_ISA {

using namespace linear_op;

constexpr int64_t kBlock = 256;   // inputs in a block: 32 KiB of a panel pair

// Inputs as the weight has them: quantized weights are padded to whole groups.
static int64_t depth(const LinearPlan& p, const Weight& w) { return quantized(w.dtype) ? padded(p.inputs) : p.inputs; }

// Rows packed as [tiles of 12][inputs][16].
size_t float_scratch(const LinearPlan& p, const Weight& w) {
  if (p.in_place) return 0;
  return (size_t)(up(p.rows, kRowPanel) * depth(p, w) * kPanel) * sizeof(float);
}

void float_pack(const Record& r, const LinearPlan& p, Range tiles) {
  const int64_t k = depth(p, *r.operands[weight_].weight);
  for (int64_t t = tiles.begin; t < tiles.end; t++) {
    const float* rows[kPanel] = {};
    for (int64_t i = 0; i < kRowPanel && t * kRowPanel + i < p.rows; i++) rows[i] = floats(r, x_) + (t * kRowPanel + i) * p.inputs;
    float* out = (float*)r.scratch + t * k * kPanel;
    load_transposed(rows, p.inputs, out);
    memset(out + p.inputs * kPanel, 0, (size_t)((k - p.inputs) * kPanel) * sizeof(float));
  }
}

// How few_rows takes words of weights: as they are, or (WASM's f16) scaled, with x and its sums scaled to match.
#if defined(__wasm_simd128__)
v128_t scaled_mask = wasm_i32x4_const_splat((int32_t)0x8fffffff);
typedef vi Mask;
INLINE Mask mask_of() { return (vi)scaled_mask; }
#else
typedef int Mask;
INLINE Mask mask_of() { return 0; }
#endif
template <class T> struct Scaling { static constexpr float x = 1, sum = 1; };
template <class T> INLINE vf word(const T* p, Mask) { return load(p); }
#if defined(__wasm_simd128__)
template <> struct Scaling<scaled_half_t> { static constexpr float x = 0x1p64f, sum = 0x1p48f; };
INLINE vf word(const scaled_half_t* p, Mask mask) { return load(p, mask); }
#endif

// R rows of x, `inputs` floats each, times B panels, a block of inputs at a time, as gemm_block adds them: the sums run in one
// order for any number of rows.
template <class T, int R, int B>
NOINLINE void few_rows(int64_t inputs, const float* __restrict x, const T* __restrict w, int64_t stride, TileOut out) {
  constexpr int C = B * NV, U = 64 / (kPanel * sizeof(T)) * 2;   // inputs of two cache lines
  constexpr int kAhead = 2048;   // bytes of each panel's stream. One row, which is as fast as memory, leaves that to the CPU
  const Mask mask = mask_of();
  for (int64_t k0 = 0; k0 < inputs; k0 += kBlock) {
    const int64_t end = smaller(k0 + kBlock, inputs);
    vf acc[R][C];
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < C; j++) acc[r][j] = (vf){};
    }
    int64_t k = k0;
    for (; k + U <= end; k += U, w += U * kPanel) {
      UNROLL
      for (int j = 0; j < B; j++) page_behind<U * kPanel * sizeof(T)>(w + j * stride);
      UNROLL
      for (int u = 0; u < U; u++) {
        UNROLL
        for (int j = 0; j < C; j++) {
          const T* p = w + j / NV * stride + u * kPanel + j % NV * W;
          if (R > 1 && j % NV == 0 && u * kPanel * sizeof(T) % 64 == 0) __builtin_prefetch((const char*)p + kAhead);
          vf v = word(p, mask);
          UNROLL
          for (int r = 0; r < R; r++) acc[r][j] = fma(splat(x[r * inputs + k + u] * Scaling<T>::x), v, acc[r][j]);
        }
      }
    }
    for (; k < end; k++, w += kPanel) {
      UNROLL
      for (int j = 0; j < C; j++) {
        vf v = word(w + j / NV * stride + j % NV * W, mask);
        UNROLL
        for (int r = 0; r < R; r++) acc[r][j] = fma(splat(x[r * inputs + k] * Scaling<T>::x), v, acc[r][j]);
      }
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < C; j++) {
        float* c = out.c + r * out.stride + j * W;
        vf s = acc[r][j] * Scaling<T>::sum;
        if (k0 > 0) s += load(c);
        if (end == inputs && out.residual) s += load(out.residual + r * out.stride + j * W);
        store(c, s);
      }
    }
  }
}

// The last panel may reach beyond the outputs: it is made in `block` and the part that exists is copied out.
static void copy_part(const float* block, int64_t rows, int64_t width, const float* residual, float* out, int64_t stride) {
  for (int64_t m = 0; m < rows; m++)
    for (int64_t i = 0; i < width; i++) out[m * stride + i] = block[m * kPanel + i] + (residual ? residual[m * stride + i] : 0);
}

template <class T, int R>
static void few_rows_panels(const Record& r, const LinearPlan& p, int64_t p0, int64_t p1) {
  // As many sums side by side as hide the latency of a multiply-add, as far as there are registers. No more: the CPU fetches few
  // streams ahead better than many, and better than it is told to.
#if defined(__AVX512F__)
  constexpr int B = sizeof(T) == 4 ? 2 : 4;
#elif defined(__AVX2__)
  constexpr int B = R == 1 ? (sizeof(T) == 4 ? 2 : 4) : R == 2 ? 2 : 1;
#elif defined(__aarch64__)
  constexpr int B = R == 1 ? 4 : R < 4 ? 2 : 1;
#else
  constexpr int B = 1;
#endif
  const int64_t stride = p.inputs * kPanel;
  const T* w = (const T*)r.operands[weight_].weight->data;
  const float *x = floats(r, x_), *residual = floats(r, residual_);
  for (int64_t panel = p0; panel < p1;) {
    const int64_t column = panel * kPanel;
    const TileOut out = {floats(r, out_) + column, p.outputs, residual ? residual + column : nullptr, false};
    const T* from = w + panel * stride;
    if (panel + B <= p1 && column + B * kPanel <= p.outputs) {
      few_rows<T, R, B>(p.inputs, x, from, stride, out);
      panel += B;
      continue;
    }
    if (column + kPanel <= p.outputs) {
      few_rows<T, R, 1>(p.inputs, x, from, stride, out);
    } else {
      alignas(64) float block[R * kPanel];
      few_rows<T, R, 1>(p.inputs, x, from, stride, {block, kPanel, nullptr, false});
      copy_part(block, R, p.outputs - column, out.residual, out.c, p.outputs);
    }
    panel++;
  }
}

template <class T>
static void few_rows_of(const Record& r, const LinearPlan& p, int64_t p0, int64_t p1) {
  switch (p.rows) {
    case 1: return few_rows_panels<T, 1>(r, p, p0, p1);
    case 2: return few_rows_panels<T, 2>(r, p, p0, p1);
    case 3: return few_rows_panels<T, 3>(r, p, p0, p1);
    case 4: return few_rows_panels<T, 4>(r, p, p0, p1);
    case 5: return few_rows_panels<T, 5>(r, p, p0, p1);
    default: return few_rows_panels<T, 6>(r, p, p0, p1);
  }
}

void float_few_rows(const Record& r, const LinearPlan& p, int64_t p0, int64_t p1) {
  switch (r.operands[weight_].weight->dtype) {
    case kF32: return few_rows_of<float>(r, p, p0, p1);
    case kF16:
#if defined(__wasm_simd128__)
      if (!__atomic_load_n(&r.operands[weight_].weight->unusual, __ATOMIC_RELAXED)) return few_rows_of<scaled_half_t>(r, p, p0, p1);
#endif
      return few_rows_of<half_t>(r, p, p0, p1);
    default: return few_rows_of<bfloat_t>(r, p, p0, p1);
  }
}

// Rows [m0, m1) times inputs [k0, k0 + kBlock) of B panels, added to what earlier blocks gave; the last adds the residual. `next`
// is where the weights lie that are needed after these.
template <int B>
static void gemm_block(const Record& r, const LinearPlan& p, int64_t panel, int64_t k0, int64_t m0, int64_t m1, TileOut out, const uint8_t* next) {
  const Weight& w = *r.operands[weight_].weight;
  const int64_t inputs = depth(p, w), count = smaller(kBlock, inputs - k0), bytes = weight_bytes(w.dtype, kPanel, inputs);
  alignas(64) float unpacked[B * kBlock * kPanel];
  const float* b = unpacked;
  int64_t stride = kBlock * kPanel;
  if (w.dtype == kF32) {
    b = (const float*)w.data + (panel * inputs + k0) * kPanel;
    stride = inputs * kPanel;
  } else {
    for (int j = 0; j < B; j++) unpack_panel(w, panel + j, k0, count, unpacked + j * stride);
  }
  out.add = k0 > 0;
  if (k0 + count < inputs) out.residual = nullptr;
  for (int64_t m = m0; m < m1; m += kRowPanel) {
    const int64_t rows = smaller(kRowPanel, m1 - m);
    const float* a = (const float*)r.scratch + (m / kRowPanel * inputs + k0) * kPanel;
    Ahead ahead = {(const char*)next, bytes, bytes / inputs};
    if constexpr (kTilePanels == 2 && B == 2) tile_rows<2, kPanel, 1>(rows, count, a, b, stride, out, ahead);
    else for (int j = 0; j < B; j++) {
      TileOut one = out;
      one.c += j * kPanel;
      if (one.residual) one.residual += j * kPanel;
      tile_rows<1, kPanel, 1>(rows, count, a, b + j * stride, stride, one, ahead);
      if (ahead.from) ahead.from += bytes;
    }
    next = nullptr;
    out.c += kRowPanel * out.stride;
    if (out.residual) out.residual += kRowPanel * out.stride;
  }
}

// A block of inputs at a time: the rows' part of it stays in the second cache while the chunk's panels pass.
void float_gemm(const Record& r, const LinearPlan& p, int64_t p0, int64_t p1, int64_t m0, int64_t m1) {
  const Weight& w = *r.operands[weight_].weight;
  const int64_t inputs = depth(p, w), bytes = weight_bytes(w.dtype, kPanel, inputs), whole = smaller(p1, p.outputs / kPanel);
  const float* residual = floats(r, residual_);
  auto place = [&](int64_t panel, int64_t m) {
    const int64_t at = m * p.outputs + panel * kPanel;
    return TileOut{floats(r, out_) + at, p.outputs, residual ? residual + at : nullptr, false};
  };
  for (int64_t k0 = 0; k0 < inputs; k0 += kBlock) {
    for (int64_t panel = p0; panel < whole;) {
      const bool pair = panel + 2 <= whole;
      const int64_t then = panel + (pair ? 2 : 1), k = then < whole ? k0 : k0 + kBlock;
      const uint8_t* next = k < inputs ? w.data + (then < whole ? then : p0) * bytes + k * (bytes / inputs) : nullptr;
      if (pair) gemm_block<2>(r, p, panel, k0, m0, m1, place(panel, m0), next);
      else gemm_block<1>(r, p, panel, k0, m0, m1, place(panel, m0), next);
      panel = then;
    }
  }
  if (whole == p1) return;
  for (int64_t m = m0; m < m1; m += kRowPanel) {   // the last panel reaches beyond the outputs
    alignas(64) float block[kRowPanel * kPanel];
    const int64_t end = smaller(m + kRowPanel, m1);
    for (int64_t k0 = 0; k0 < inputs; k0 += kBlock) gemm_block<1>(r, p, whole, k0, m, end, {block, kPanel, nullptr, false}, nullptr);
    const TileOut out = place(whole, m);
    copy_part(block, end - m, p.outputs - whole * kPanel, out.residual, out.c, p.outputs);
  }
}

}  // namespace openelm::OPENELM_ISA
