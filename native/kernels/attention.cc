// Causal attention over keys and values in place in the cache rows, 128 keys at a time with running maxima and sums: no buffer
// grows with the context. A chunk is a block of 192 (row, query head) pairs of one sequence that share a kv head, so a block of
// keys and values is read, transposed and made f32 once for all of them. A row's sums run in one order, however many rows a step
// has: over a head's dimensions, over a block's keys, then over blocks.
#include "attention.h"

namespace openelm::OPENELM_ISA {

using namespace attention_op;

constexpr int kPairs = 192, kKeys = 128, kFewPairs = 8, kFewKeys = 2 * kPanel;
constexpr int kScoreStride = kKeys + 16;   // keeps the rows of a tile off each other's cache sets

static int64_t blocks_of(const Record& r, const Sequence& q) { return up(q.rows * group_of(r), kPairs); }

// Wrong sequences count as one chunk, which then reports them.
int attention_chunks(const Record& r, int) {
  int64_t total = 0, wrong = 0;
  for (int64_t s = 0; s < r.ints[i_sequenceCount_]; s++) {
    Sequence q;
    if (sequence_at(r, s, &q)) total += blocks_of(r, q) * r.ints[i_kvHeads_];
    else wrong = 1;
  }
  return (int)clamp(total, wrong, INT32_MAX);
}

// The running state of one chunk. Dimensions of a head are padded to whole panels in values and sums.
struct Work {
  alignas(64) float query[kPairs * kHeadStride];                         // [pair][headDim]
  alignas(64) float keys[kKeys * kLargestHead];                          // [keys/16][headDim][16]
  alignas(64) float values[kKeys * kLargestHead];                        // [headDim/16][keys][16]
  alignas(64) float scores[kRowPanel * kScoreStride];
  alignas(64) float sums[kPairs * kLargestHead];                         // [pair][headDim]
  float top[kPairs + W], total[kPairs];
  int64_t visible[kPairs];                                               // keys that a pair sees
  int32_t rows[kKeys];                                                   // cache rows of the block's keys
  alignas(64) float key_scales[kKeys + W], value_scales[kKeys + W];      // of an 8-bit cache; a key's is times the scores' scale
};

// Codes are multiplied as they are; their scales meet scores and weights.
static void read_scales(Work& z, const code_t* keys, const code_t* values, int64_t stride, int64_t dim, int64_t count, float scale) {
  const int64_t behind = head_stride<code_t>(dim) - 4;
  for (int64_t j = 0; j < count; j++) {
    memcpy(z.key_scales + j, keys + z.rows[j] * stride + behind, 4);
    memcpy(z.value_scales + j, values + z.rows[j] * stride + behind, 4);
    z.key_scales[j] *= scale;
  }
}

// Keys [first, first + count) of a block of one kv head to f32 panels.
template <class T>
static void pack_keys(Work& z, const T* keys, int64_t stride, int64_t dim, int64_t first, int64_t count) {
  for (int64_t j = 0; j < count; j += kPanel) {
    const T* rows[kPanel] = {};
    for (int64_t i = 0; i < kPanel && j + i < count; i++) rows[i] = keys + z.rows[first + j + i] * stride;
    load_transposed(rows, dim, z.keys + j * dim);
  }
}

template <class T>
static void pack_values(Work& z, const T* values, int64_t stride, int64_t dim, int64_t count) {
  for (int64_t j = 0; j < count; j++) {
    const T* from = values + z.rows[j] * stride;
    int64_t d = 0;
    for (; d + W <= dim; d += W) store(z.values + (d / kPanel * kKeys + j) * kPanel + d % kPanel, load(from + d));
    for (; d < up(dim, kPanel) * kPanel; d++) z.values[(d / kPanel * kKeys + j) * kPanel + d % kPanel] = d < dim ? element(from + d) : 0;
  }
}

// The scores of pairs [first, first + count), a row each, to weights e^(score - top): the first `n` of a row, zeros up to `end`.
// The sums made so far are scaled as the maximum grows. Rows of scores are padded, and so are the scales: the lanes beyond n are
// there. All rows' maxima come first, for their exponentials to be made together.
template <bool Coded>
static void soften(Work& z, int64_t first, int64_t count, int64_t k0, int64_t end, float scale, int64_t width) {
  alignas(64) float shrink[up(kRowPanel, W) * W];
  const float* key_scales = z.key_scales;
  const float* value_scales = z.value_scales;
  const auto scaled = [=](const float* scores, int64_t i) { return load(scores + i) * (Coded ? load(key_scales + i) : splat(scale)); };
  const auto seen = [&](int64_t row) { return clamp(z.visible[first + row] - k0, 0, end); };
  for (int64_t row = 0; row < count; row++) {
    const float* scores = z.scores + row * kScoreStride;
    const int64_t n = seen(row), whole = n - n % W;
    vf best = splat(z.top[first + row]);
    for (int64_t i = 0; i < whole; i += W) best = vmax(scaled(scores, i), best);
    if (whole < n) best = vmax(chosen(first_lanes(n - whole), scaled(scores, whole), best), best);
    shrink[row] = z.top[first + row];
    z.top[first + row] = largest(best);
  }
  for (int64_t row = 0; row < count; row += W) store(shrink + row, vexp_down(load(shrink + row) - load(z.top + first + row)));
  for (int64_t row = 0; row < count; row++) {
    float *scores = z.scores + row * kScoreStride, *sums = z.sums + (first + row) * width;
    const int64_t n = seen(row), whole = n - n % W;
    const vf top = splat(z.top[first + row]);
    for (int64_t d = 0; d < width; d += W) store(sums + d, load(sums + d) * shrink[row]);
    vf total = {};
    const auto weigh = [&](int64_t i, vf e) {
      total += e;
      store(scores + i, Coded ? e * load(value_scales + i) : e);
    };
    for (int64_t i = 0; i < whole; i += W) weigh(i, vexp_down(scaled(scores, i) - top));
    if (whole < n) weigh(whole, chosen(first_lanes(n - whole), vexp_down(scaled(scores, whole) - top), vf{}));
    for (int64_t i = up(n, W) * W; i < end; i += W) store(scores + i, vf{});
    z.total[first + row] = z.total[first + row] * shrink[row] + sum(total);
  }
}

// ---- A few pairs (decoding): values are read where they are.

template <int R, class T>
NOINLINE void direct_values(const Work& z, const float* scores, const T* values, int64_t stride, int64_t dim, int64_t count, float* sums) {
  for (int64_t d = 0; d < dim; d += 2 * W) {
    vf a[R][2];
    UNROLL
    for (int r = 0; r < R; r++) a[r][0] = a[r][1] = (vf){};
    for (int64_t j = 0; j < count; j++) {
      const T* from = values + z.rows[j] * stride + d;
      vf v0 = load(from), v1 = load(from + W);
      UNROLL
      for (int r = 0; r < R; r++) {
        vf p = splat(scores[r * kScoreStride + j]);
        a[r][0] = fma(p, v0, a[r][0]);
        a[r][1] = fma(p, v1, a[r][1]);
      }
    }
    UNROLL
    for (int r = 0; r < R; r++) {
      float* to = sums + r * dim + d;
      store(to, a[r][0] + load(to));
      store(to + W, a[r][1] + load(to + W));
    }
  }
}

template <class T>
static void attend(const Record& r, const Sequence& q, int64_t total_keys, int64_t kv_head, int64_t block) {
  Work z;
  const int64_t dim = r.ints[i_headDim_], width = up(dim, kPanel) * kPanel, group = group_of(r), heads = r.ints[i_queryHeads_];
  const int64_t first = block * kPairs, pairs = smaller(q.rows * group - first, kPairs);
  const int64_t head = head_stride<T>(dim), stride = r.ints[i_kvHeads_] * head;
  const T *keys = (const T*)r.operands[keys_].data + kv_head * head, *values = (const T*)r.operands[values_].data + kv_head * head;
  const float scale = r.floats[f_scale_];
  float* logsumexp = floats(r, logsumexp_);
  auto place = [&](int64_t i) { return ((q.row + (first + i) / group) * heads + kv_head * group + (first + i) % group) * dim; };
  const bool few = pairs <= kFewPairs && dim % (2 * W) == 0 && dim == width;
  for (int64_t i = 0; i < pairs; i++) {
    memcpy(z.query + i * kHeadStride, floats(r, query_) + place(i), (size_t)dim * sizeof(float));
    z.top[i] = -INFINITY;
    z.total[i] = 0;
    z.visible[i] = total_keys - q.rows + (first + i) / group + 1;
  }
  memset(z.sums, 0, (size_t)(pairs * width) * sizeof(float));
  Walk walk = {ints(r, segments_), q.segment, q.segment + q.segments, 0};
  for (int64_t k0 = 0; k0 < z.visible[pairs - 1]; k0 += kKeys) {
    const int64_t count = smaller(kKeys, z.visible[pairs - 1] - k0);
    walk.next(z.rows, count);
    if constexpr (kCoded<T>) read_scales(z, keys, values, stride, dim, count, scale);
    if (few) {
      for (int64_t j = 0; j < count; j += kFewKeys) {
        const int64_t some = smaller(kFewKeys, count - j);
        pack_keys(z, keys, stride, dim, j, some);
        multiply<1, kHeadStride>(pairs, dim, z.query, z.keys, dim * kPanel, up(some, kPanel), {z.scores + j, kScoreStride, nullptr, false});
      }
      soften<kCoded<T>>(z, 0, pairs, k0, count, scale, width);
      int64_t i = 0;
      for (; i + 4 <= pairs; i += 4) direct_values<4>(z, z.scores + i * kScoreStride, values, stride, dim, count, z.sums + i * dim);
      for (; i < pairs; i++) direct_values<1>(z, z.scores + i * kScoreStride, values, stride, dim, count, z.sums + i * dim);
      continue;
    }
    pack_keys(z, keys, stride, dim, 0, count);
    pack_values(z, values, stride, dim, count);
    for (int64_t t = 0; t < pairs; t += kRowPanel) {
      const int64_t rows = smaller(kRowPanel, pairs - t), seen = smaller(count, z.visible[t + rows - 1] - k0);
      if (seen <= 0) continue;
      multiply<1, kHeadStride>(rows, dim, z.query + t * kHeadStride, z.keys, dim * kPanel, up(seen, kPanel), {z.scores, kScoreStride, nullptr, false});
      soften<kCoded<T>>(z, t, rows, k0, seen, scale, width);
      multiply<1, kScoreStride>(rows, seen, z.scores, z.values, kKeys * kPanel, width / kPanel,
                                {z.sums + t * width, width, nullptr, true});
    }
  }
  for (int64_t i = 0; i < pairs; i++) {
    float* out = floats(r, out_) + place(i);
    const float inverse = 1 / z.total[i];
    if (logsumexp) logsumexp[place(i) / dim] = z.top[i] + logf(z.total[i]);
    int64_t d = 0;
    for (; d + W <= dim; d += W) store(out + d, load(z.sums + i * width + d) * inverse);
    for (; d < dim; d++) out[d] = z.sums[i * width + d] * inverse;
  }
}

int attention_run(const Record& r, int, int chunk, int) {
  if (r.ints[i_headDim_] > kLargestHead) return kSizeOutOfRange;
  int64_t at = chunk;
  const int64_t kv_heads = r.ints[i_kvHeads_];
  Sequence q = {}, mine = {};
  bool found = false;
  for (int64_t s = 0; s < r.ints[i_sequenceCount_]; s++) {
    if (!sequence_at(r, s, &q)) return kIndexOutOfRange;
    const int64_t chunks = blocks_of(r, q) * kv_heads;
    if (!found && at < chunks) {
      mine = q;
      found = true;
    } else if (!found) {
      at -= chunks;
    }
  }
  if (!found) return kOk;
  const int64_t total = keys_of(r, mine);
  if (total < 0) return kIndexOutOfRange;
  // The last rows see the most keys: they go first, so that no thread is left alone with a long chunk.
  const int64_t block = blocks_of(r, mine) - 1 - at / kv_heads;
  switch (r.operands[keys_].dtype) {
    case kF16: attend<half_t>(r, mine, total, at % kv_heads, block); break;
    case kI32: attend<code_t>(r, mine, total, at % kv_heads, block); break;
    default: attend<float>(r, mine, total, at % kv_heads, block);
  }
  return kOk;
}

}  // namespace openelm::OPENELM_ISA
