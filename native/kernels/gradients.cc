// The derivatives of the ops that pass once over rows. Gradients of weights are sums over rows: a chunk of rows adds up its own
// in the scratch, and a second stage adds those in the order of the chunks; the embedding's are cut by columns instead, so that
// each chunk walks all rows in order. The derivatives of linear, attention and the loss have files of their own.
#include "internal.h"

namespace openelm::OPENELM_ISA {

namespace {

bool outside(int64_t index, int64_t size) { return index < 0 || index >= size; }

// The gradient of x / rms(x) * weight by x (+ residual); adds that by the weight to `weight_sums`. dx may be dout.
INLINE void normalize_grad(const float* x, const float* weight, const float* dout, const float* residual, int64_t n, float eps, float* dx,
                           float* weight_sums) {
  vf squares = {}, along = {};
  by_vectors(n, [&](int64_t i, auto get, auto) {
    const vf v = get(x + i);
    squares = fma(v, v, squares);
    along = fma(get(weight + i) * get(dout + i), v, along);
  });
  const float inverse = 1 / sqrtf(sum(squares) / (float)n + eps);
  const float projection = sum(along) * inverse / (float)n;   // mean(weight dout x / rms)
  by_vectors(n, [&](int64_t i, auto get, auto put) {
    const vf normal = get(x + i) * inverse, d = get(dout + i);
    vf out = fma(-normal, splat(projection), get(weight + i) * d) * inverse;
    if (residual) out += get(residual + i);
    put(weight_sums + i, fma(d, normal, get(weight_sums + i)));
    put(dx + i, out);
  });
}

// grad += the chunks' sums, which lie `stride` floats apart, added up in order.
void add_sums(const float* sums, int chunks, int64_t stride, Range columns, float* grad) {
  by_vectors(columns.end - columns.begin, [&](int64_t i, auto get, auto put) {
    vf total = {};
    for (int c = 0; c < chunks; c++) total += get(sums + c * stride + columns.begin + i);
    put(grad + columns.begin + i, get(grad + columns.begin + i) + total);
  });
}

INLINE vf sigmoid(vf x) { return 1.0f / (1.0f + vexp(-x)); }
INLINE vf silu_slope(vf x, vf s) { return s * fma(x, 1.0f - s, splat(1.0f)); }

}  // namespace

int embedding_grad_chunks(const Record& r, int) {
  using namespace embeddingGrad_op;
  const int64_t columns = r.ints[i_columns_];
  return r.ints[i_rows_] <= 0 ? 0 : (int)clamp(r.ints[i_rows_] * columns / 8192, 1, clamp(columns / 64, 1, 32));
}

int embedding_grad_run(const Record& r, int, int chunk, int chunks) {
  using namespace embeddingGrad_op;
  const int64_t columns = r.ints[i_columns_];
  const Range range = part(columns, chunk, chunks);
  for (int64_t m = 0; m < r.ints[i_rows_]; m++) {
    const int32_t id = ints(r, ids_)[m];
    if (outside(id, r.ints[i_tableRows_])) return kIndexOutOfRange;
    if (id == r.ints[i_skip_] - 1) continue;
    const float* from = floats(r, dout_) + m * columns + range.begin;
    float* to = floats(r, tableGrad_) + id * columns + range.begin;
    by_vectors(range.end - range.begin, [&](int64_t i, auto get, auto put) { put(to + i, get(to + i) + get(from + i)); });
  }
  return kOk;
}

static int norm_row_chunks(const Record& r) { return row_chunks(r.ints[rmsNormGrad_op::i_rows_], r.ints[rmsNormGrad_op::i_columns_]); }

size_t rms_norm_grad_scratch(const Record& r) { return (size_t)(32 * (int64_t)r.ints[rmsNormGrad_op::i_columns_]) * sizeof(float); }

int rms_norm_grad_chunks(const Record& r, int stage) {
  if (norm_row_chunks(r) == 0 || (stage == 1 && !floats(r, rmsNormGrad_op::weightGrad_))) return 0;
  return stage == 0 ? norm_row_chunks(r) : (int)up(r.ints[rmsNormGrad_op::i_columns_], 512);
}

int rms_norm_grad_run(const Record& r, int stage, int chunk, int chunks) {
  using namespace rmsNormGrad_op;
  const int64_t n = r.ints[i_columns_];
  if (stage == 1) {
    add_sums((float*)r.scratch, norm_row_chunks(r), n, part(n, chunk, chunks), floats(r, weightGrad_));
    return kOk;
  }
  float* sums = (float*)r.scratch + chunk * n;
  memset(sums, 0, (size_t)n * sizeof(float));
  const Range range = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = range.begin; m < range.end; m++) {
    const float* residual = floats(r, residual_);
    normalize_grad(floats(r, x_) + m * n, floats(r, weight_), floats(r, dout_) + m * n, residual ? residual + m * n : nullptr, n,
                   r.floats[f_eps_], floats(r, dx_) + m * n, sums);
  }
  return kOk;
}

static int head_chunks(const Record& r) {
  using namespace qkNormRopeGrad_op;
  return row_chunks(r.ints[i_rows_], (int64_t)(r.ints[i_queryHeads_] + 2 * r.ints[i_kvHeads_]) * r.ints[i_headDim_]);
}

size_t qk_norm_rope_grad_scratch(const Record& r) { return (size_t)(32 * 2 * (int64_t)r.ints[qkNormRopeGrad_op::i_headDim_]) * sizeof(float); }

int qk_norm_rope_grad_chunks(const Record& r, int stage) { return stage == 0 ? head_chunks(r) : head_chunks(r) > 0; }

int qk_norm_rope_grad_run(const Record& r, int stage, int chunk, int chunks) {
  using namespace qkNormRopeGrad_op;
  const int64_t query_heads = r.ints[i_queryHeads_], kv_heads = r.ints[i_kvHeads_], n = r.ints[i_headDim_], half = n / 2;
  if (stage == 1) {
    for (int which = 0; which < 2; which++) {
      float* grad = floats(r, which ? keyNormGrad_ : queryNormGrad_);
      if (grad) add_sums((float*)r.scratch + which * n, head_chunks(r), 2 * n, {0, n}, grad);
    }
    return kOk;
  }
  constexpr int kLargest = 1024;
  if (n > kLargest) return kSizeOutOfRange;
  alignas(64) float turned[kLargest];
  float* sums = (float*)r.scratch + chunk * 2 * n;
  memset(sums, 0, (size_t)(2 * n) * sizeof(float));
  const Range range = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = range.begin; m < range.end; m++) {
    const int64_t position = ints(r, positions_)[m], row = ints(r, kvRows_)[m];
    if (outside(position, r.ints[i_ropeRows_]) || outside(row, r.ints[i_cacheRows_])) return kIndexOutOfRange;
    const float *cosine = floats(r, rope_) + position * n, *sine = cosine + half;
    const int64_t start = m * (query_heads + 2 * kv_heads) * n;
    const float* x = floats(r, qkv_) + start;
    float* out = floats(r, dqkv_) + start;
    for (int64_t h = 0; h < query_heads + kv_heads; h++, x += n, out += n) {
      const bool query = h < query_heads;
      const float* d = query ? floats(r, dquery_) + (m * query_heads + h) * n : floats(r, dkeys_) + (row * kv_heads + h - query_heads) * n;
      const float* weight = floats(r, query ? queryNorm_ : keyNorm_);
      float* back = weight ? turned : out;
      by_vectors(half, [&](int64_t i, auto get, auto put) {
        const vf a = get(d + i), b = get(d + half + i), c = get(cosine + i), s = get(sine + i);
        put(back + i, fma(a, c, b * s));
        put(back + half + i, fma(b, c, -(a * s)));
      });
      if (weight) normalize_grad(x, weight, turned, nullptr, n, r.floats[f_eps_], out, sums + (query ? 0 : n));
    }
    memcpy(out, floats(r, dvalues_) + row * kv_heads * n, (size_t)(kv_heads * n) * sizeof(float));
  }
  return kOk;
}

int swiglu_grad_run(const Record& r, int, int chunk, int chunks) {
  using namespace swigluGrad_op;
  const int64_t n = r.ints[i_columns_];
  const Range range = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = range.begin; m < range.end; m++) {
    float *gate = floats(r, x_) + m * 2 * n, *value = gate + n;
    const float* dout = floats(r, dout_) + m * n;
    by_vectors(n, [&](int64_t i, auto get, auto put) {
      __builtin_prefetch(gate + 2 * n + i, 1);
      __builtin_prefetch(value + 2 * n + i, 1);
      const vf x = get(gate + i), d = get(dout + i), s = sigmoid(x);
      put(gate + i, d * get(value + i) * silu_slope(x, s));
      put(value + i, d * (x * s));
    });
  }
  return kOk;
}

int silu_grad_run(const Record& r, int, int chunk, int chunks) {
  using namespace siluGrad_op;
  const int64_t n = r.ints[i_columns_];
  const Range range = part(r.ints[i_rows_], chunk, chunks);
  float* x = floats(r, x_) + range.begin * n;
  const float* dout = floats(r, dout_) + range.begin * n;
  by_vectors((range.end - range.begin) * n, [&](int64_t i, auto get, auto put) {
    const vf v = get(x + i);
    put(x + i, get(dout + i) * silu_slope(v, sigmoid(v)));
  });
  return kOk;
}

}  // namespace openelm::OPENELM_ISA
