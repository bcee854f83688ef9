// The ops that pass once over rows: embedding, norms, rotary positions, activations, gather, argmax, log-probabilities, copy.
// Chunks are whole rows. Indices are checked here, as they are data.
#include "internal.h"

namespace openelm::OPENELM_ISA {

static bool outside(int64_t index, int64_t size) { return index < 0 || index >= size; }

int embedding_run(const Record& r, int, int chunk, int chunks) {
  using namespace embedding_op;
  const Weight* table = r.operands[table_].weight;   // or f32 rows
  const int64_t columns = r.ints[i_columns_], rows = table ? smaller(r.ints[i_tableRows_], table->rows) : r.ints[i_tableRows_];
  Range range = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = range.begin; m < range.end; m++) {
    const int32_t id = ints(r, ids_)[m];
    if (outside(id, rows)) return kIndexOutOfRange;
    float* out = floats(r, out_) + m * columns;
    if (table) unpack_row(*table, id, out);
    else memcpy(out, floats(r, table_) + id * columns, (size_t)columns * sizeof(float));
  }
  return kOk;
}

// out = x / sqrt(mean(x^2) + eps) * weight; `out` may be `x`.
INLINE void normalize(const float* x, const float* weight, int64_t n, float eps, float* out) {
  vf s0 = {}, s1 = {};
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    s0 = fma(load(x + i), load(x + i), s0);
    s1 = fma(load(x + i + W), load(x + i + W), s1);
  }
  for (; i < n; i += W) {
    vf v = i + W <= n ? load(x + i) : load_part(x + i, (int)(n - i));
    s0 = fma(v, v, s0);
  }
  const float scale = 1 / sqrtf(sum(s0 + s1) / (float)n + eps);
  for (i = 0; i + W <= n; i += W) store(out + i, load(x + i) * scale * load(weight + i));
  for (; i < n; i++) out[i] = x[i] * scale * weight[i];
}

int rms_norm_run(const Record& r, int, int chunk, int chunks) {
  using namespace rmsNorm_op;
  const int64_t n = r.ints[i_columns_];
  Range range = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = range.begin; m < range.end; m++)
    normalize(floats(r, x_) + m * n, floats(r, weight_), n, r.floats[f_eps_], floats(r, out_) + m * n);
  return kOk;
}

int qk_norm_rope_chunks(const Record& r, int) {
  using namespace qkNormRope_op;
  return row_chunks(r.ints[i_rows_], (int64_t)(r.ints[i_queryHeads_] + 2 * r.ints[i_kvHeads_]) * r.ints[i_headDim_]);
}

template <class T>
INLINE void put(const float* x, int64_t n, T* out) {
  int64_t i = 0;
  for (; i + W <= n; i += W) store(out + i, load(x + i));
  for (; i < n; i++) set_element(out + i, x[i]);
}

// scale = max|x| / 127, codes to the nearest, ties to even. The integer maximum of the bits of |x| keeps what is not a number.
INLINE void put(const float* x, int64_t n, code_t* out) {
  vi top = {};
  int64_t i = 0;
  for (; i + W <= n; i += W) top = vmax_int(top, bits(vabs(load(x + i))));
  if (i < n) top = vmax_int(top, bits(vabs(load_part(x + i, (int)(n - i)))));
  const float peak = float_of((uint32_t)largest_int(top)), inverse = code_inverse(peak), scale = code_scale(peak);
  for (i = 0; i + W <= n; i += W) store_bytes((int8_t*)out + i, round_to_int(load(x + i) * inverse));
  const int64_t end = head_stride<code_t>(n) - 4;
  if (i < end) {
    int8_t rest[W];
    store_bytes(rest, round_to_int(load_part(x + i, (int)(n - i)) * inverse));
    memcpy(out + i, rest, (size_t)(end - i));
  }
  memcpy(out + end, &scale, 4);
}

// Norm and rotation of one head; angles = cos[n/2], sin[n/2].
template <class T>
INLINE void rotate_head(const float* x, const float* weight, const float* angles, int64_t n, float eps, float* head, T* out) {
  if (weight) {
    normalize(x, weight, n, eps, head);
    x = head;
  }
  const int64_t half = n / 2;
  int64_t i = 0;
  for (; i + W <= half; i += W) {
    vf a = load(x + i), b = load(x + i + half), cosine = load(angles + i), sine = load(angles + i + half);
    store(out + i, fma(a, cosine, -(b * sine)));
    store(out + i + half, fma(b, cosine, a * sine));
  }
  for (; i < half; i++) {
    float a = x[i], b = x[i + half];
    set_element(out + i, a * angles[i] - b * angles[i + half]);
    set_element(out + i + half, b * angles[i] + a * angles[i + half]);
  }
}
INLINE void rotate_head(const float* x, const float* weight, const float* angles, int64_t n, float eps, float* head, code_t* out) {
  rotate_head(x, weight, angles, n, eps, head, head);
  put(head, n, out);
}

template <class T>
static int qk_norm_rope(const Record& r, Range range) {
  using namespace qkNormRope_op;
  const int64_t query_heads = r.ints[i_queryHeads_], kv_heads = r.ints[i_kvHeads_], n = r.ints[i_headDim_];
  const int64_t stride = head_stride<T>(n);
  const float eps = r.floats[f_eps_];
  constexpr int kLargest = 1024;
  if (n > kLargest) return kSizeOutOfRange;
  alignas(64) float head[kLargest];
  for (int64_t m = range.begin; m < range.end; m++) {
    const int64_t position = ints(r, positions_)[m], row = ints(r, kvRows_)[m];
    if (outside(position, r.ints[i_ropeRows_]) || outside(row, r.ints[i_cacheRows_])) return kIndexOutOfRange;
    const float* angles = floats(r, rope_) + position * n;
    const float* x = floats(r, qkv_) + m * (query_heads + 2 * kv_heads) * n;
    float* query = floats(r, query_) + m * query_heads * n;
    for (int64_t h = 0; h < query_heads; h++) rotate_head(x + h * n, floats(r, queryNorm_), angles, n, eps, head, query + h * n);
    x += query_heads * n;
    T *keys = (T*)r.operands[keys_].data + row * kv_heads * stride, *values = (T*)r.operands[values_].data + row * kv_heads * stride;
    for (int64_t h = 0; h < kv_heads; h++) rotate_head(x + h * n, floats(r, keyNorm_), angles, n, eps, head, keys + h * stride);
    x += kv_heads * n;
    for (int64_t h = 0; h < kv_heads; h++) put(x + h * n, n, values + h * stride);
  }
  return kOk;
}

int qk_norm_rope_run(const Record& r, int, int chunk, int chunks) {
  Range range = part(r.ints[qkNormRope_op::i_rows_], chunk, chunks);
  switch (r.operands[qkNormRope_op::keys_].dtype) {
    case kF16: return qk_norm_rope<half_t>(r, range);
    case kI32: return qk_norm_rope<code_t>(r, range);
    default: return qk_norm_rope<float>(r, range);
  }
}

INLINE vf silu(vf x) { return x / (1.0f + vexp(-x)); }

INLINE void swiglu_row(const float* gate, const float* value, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    __builtin_prefetch(gate + 2 * n + i);
    __builtin_prefetch(value + 2 * n + i);
    __builtin_prefetch(out + n + i, 1);
    store(out + i, silu(load(gate + i)) * load(value + i));
  }
  if (i < n) {
    const int rest = (int)(n - i);
    store_part(out + i, silu(load_part(gate + i, rest)) * load_part(value + i, rest), rest);
  }
}

int swiglu_run(const Record& r, int, int chunk, int chunks) {
  using namespace swiglu_op;
  const int64_t n = r.ints[i_columns_];
  Range range = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = range.begin; m < range.end; m++) {
    const float* x = floats(r, x_) + m * 2 * n;
    swiglu_row(x, x + n, n, floats(r, out_) + m * n);
  }
  return kOk;
}

int silu_run(const Record& r, int, int chunk, int chunks) {
  using namespace silu_op;
  const int64_t n = r.ints[i_columns_];
  Range range = part(r.ints[i_rows_], chunk, chunks);
  const float* x = floats(r, x_);
  float* out = floats(r, out_);
  int64_t i = range.begin * n;
  const int64_t end = range.end * n;
  for (; i + W <= end; i += W) store(out + i, silu(load(x + i)));
  if (i < end) store_part(out + i, silu(load_part(x + i, (int)(end - i))), (int)(end - i));
  return kOk;
}

int gather_rows_run(const Record& r, int, int chunk, int chunks) {
  using namespace gatherRows_op;
  const int64_t n = r.ints[i_columns_];
  Range range = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = range.begin; m < range.end; m++) {
    const int64_t from = ints(r, indices_)[m];
    if (outside(from, r.ints[i_sourceRows_])) return kIndexOutOfRange;
    memcpy(floats(r, out_) + m * n, floats(r, x_) + from * n, (size_t)n * sizeof(float));
  }
  return kOk;
}

// The index of the largest, the first of equals; -1 where one is not finite, which zero times it tells.
static int32_t argmax(const float* x, int64_t n) {
  vf best = splat(-INFINITY), zeros = {};
  int64_t i = 0;
  for (; i + W <= n; i += W) {
    const vf v = load(x + i);
    best = vmax(v, best);
    zeros = fma(v, (vf){}, zeros);
  }
  float top = largest(best), zero = sum(zeros);
  for (; i < n; i++) {
    top = x[i] > top ? x[i] : top;
    zero += x[i] * 0;
  }
  if (zero != 0) return -1;
  for (i = 0; i < n; i++)
    if (x[i] == top) return (int32_t)i;
  return 0;
}

int argmax_run(const Record& r, int, int chunk, int chunks) {
  using namespace argmax_op;
  Range range = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = range.begin; m < range.end; m++) {
    ints(r, out_)[m] = argmax(floats(r, x_) + m * r.ints[i_columns_], r.ints[i_columns_]);
  }
  return kOk;
}

// log of the sum of e^x: f32 within blocks of 64 vectors, f64 across.
static double log_sum_exp(const float* x, int64_t n, float top) {
  double total = 0;
  for (int64_t i = 0; i < n;) {
    const int64_t end = smaller(i + 64 * W, n);
    vf s = {};
    for (; i + W <= end; i += W) s += vexp(load(x + i) - top);
    total += (double)sum(s);
    if (i < end) {
      alignas(64) float t[W];
      store(t, vexp(load_part(x + i, (int)(end - i)) - top));
      for (int64_t j = 0; j < end - i; j++) total += (double)t[j];
      i = end;
    }
  }
  return log(total);
}

int token_logprob_run(const Record& r, int, int chunk, int chunks) {
  using namespace tokenLogprob_op;
  const int64_t n = r.ints[i_columns_];
  Range range = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = range.begin; m < range.end; m++) {
    const float* x = floats(r, logits_) + m * n;
    const int64_t target = ints(r, targets_)[m];
    if (outside(target, n)) return kIndexOutOfRange;
    vf best = splat(-INFINITY);
    int64_t i = 0;
    for (; i + W <= n; i += W) best = vmax(load(x + i), best);
    float top = largest(best);
    for (; i < n; i++) top = x[i] > top ? x[i] : top;
    floats(r, out_)[m] = (float)((double)x[target] - (double)top - log_sum_exp(x, n, top));
  }
  return kOk;
}

int copy_run(const Record& r, int, int chunk, int chunks) {
  using namespace copy_op;
  Range range = part(r.ints[i_rows_], chunk, chunks);
  const int64_t n = r.ints[i_columns_];
  memcpy(floats(r, out_) + range.begin * n, floats(r, x_) + range.begin * n, (size_t)((range.end - range.begin) * n) * sizeof(float));
  return kOk;
}

// A row in 16 bits: a scale for each kCodes elements, then their codes, two to a word.
constexpr int64_t kCodes = 64;
struct PackedRow {
  float* scales;
  int16_t* codes;
};
template <class Name>
static PackedRow packed_row(const Record& r, Name operand, int64_t m, int64_t columns) {
  const int64_t groups = up(columns, kCodes);
  float* row = floats(r, operand) + m * (groups + up(columns, 2));
  return {row, (int16_t*)(row + groups)};
}

int pack_int16_run(const Record& r, int, int chunk, int chunks) {
  using namespace packInt16_op;
  constexpr float kRound = 0x1.8p23f;   // added, it leaves the nearest whole number in the lowest bits
  Range range = part(r.ints[i_rows_], chunk, chunks);
  const int64_t n = r.ints[i_columns_];
  for (int64_t m = range.begin; m < range.end; m++) {
    const PackedRow row = packed_row(r, packed_, m, n);
    for (int64_t at = 0; at < n; at += kCodes) {
      const float* x = floats(r, x_) + m * n + at;
      const int64_t count = smaller(kCodes, n - at);
      vf most = {};
      by_vectors(count, [&](int64_t i, auto get, auto) { most = vmax(vabs(get(x + i)), most); });
      const float top = largest(most), inverse = top > 1e-30f ? 32767 / top : 0;
      row.scales[at / kCodes] = top / 32767;
      int64_t i = 0;
      for (; i + W <= count; i += W) *(vs_memory*)(row.codes + at + i) = __builtin_convertvector(bits(load(x + i) * inverse + splat(kRound)), vs_memory);
      for (; i < count; i++) {
        const float rounded = x[i] * inverse + kRound;
        memcpy(row.codes + at + i, &rounded, 2);
      }
    }
    if (n % 2) row.codes[n] = 0;
  }
  return kOk;
}

int unpack_int16_run(const Record& r, int, int chunk, int chunks) {
  using namespace unpackInt16_op;
  Range range = part(r.ints[i_rows_], chunk, chunks);
  const int64_t n = r.ints[i_columns_];
  for (int64_t m = range.begin; m < range.end; m++) {
    const PackedRow row = packed_row(r, packed_, m, n);
    for (int64_t at = 0; at < n; at += kCodes) {
      float* out = floats(r, out_) + m * n + at;
      const float scale = row.scales[at / kCodes];
      const int64_t count = smaller(kCodes, n - at);
      int64_t i = 0;
      for (; i + W <= count; i += W) store(out + i, to_float(__builtin_convertvector(*(const vs_memory*)(row.codes + at + i), vi)) * scale);
      for (; i < count; i++) out[i] = (float)row.codes[at + i] * scale;
    }
  }
  return kOk;
}

}  // namespace openelm::OPENELM_ISA
