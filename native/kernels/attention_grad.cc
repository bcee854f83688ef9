// The derivative of causal attention. Probabilities are computed again, a block of keys by a block of (row, query head) pairs at a
// time (Dao et al. 2022, "FlashAttention"), and no buffer grows with the product of lengths. A chunk is one kv head of one
// sequence: it alone writes the gradients of that head's keys, values and queries. Where sequences share cache rows, one chunk
// takes them all in order; where there would be too few chunks, the pairs are dealt to kSplits of them, each with sums of its own.
#include "attention.h"

namespace openelm::OPENELM_ISA {

using namespace attentionGrad_op;

static_assert((int)query_ == attention_op::query_ && (int)keys_ == attention_op::keys_ && (int)values_ == attention_op::values_ &&
                  (int)sequences_ == attention_op::sequences_ && (int)segments_ == attention_op::segments_ &&
                  (int)i_rows_ == attention_op::i_rows_ && (int)i_segmentCount_ == attention_op::i_segmentCount_ &&
                  (int)i_queryHeads_ == attention_op::i_queryHeads_ && (int)i_kvHeads_ == attention_op::i_kvHeads_ &&
                  (int)i_cacheRows_ == attention_op::i_cacheRows_,
              "attention.h reads both ops' records");

namespace {

constexpr int kPairs = 48, kKeys = 128, kSplits = 4;
constexpr int kStride = kKeys + 16;   // as kHeadStride

// What follows from the sequences: the params, never computed data.
struct Plan {
  bool wrong, shared;
  int64_t clusters, splits;
};

Plan plan_of(const Record& r) {
  Plan p = {false, false, 0, 1};
  int64_t end = 0, total = 0, largest = 0;
  for (int64_t s = 0; s < r.ints[i_sequenceCount_]; s++) {
    Sequence q;
    if (!sequence_at(r, s, &q)) return {true, false, 1, 1};
    const int64_t keys = keys_of(r, q);
    if (keys < 0) return {true, false, 1, 1};
    for (int64_t i = q.segment; i < q.segment + q.segments; i++) {
      const int64_t start = ints(r, segments_)[i * 2], length = ints(r, segments_)[i * 2 + 1];
      if (length == 0) continue;
      if (start < end) p.shared = true;   // or only out of order, which is as right
      end = start + length;
    }
    largest = larger(largest, q.rows * keys);
    total += q.rows * keys;
  }
  p.clusters = p.shared ? 1 : r.ints[i_sequenceCount_];
  if (p.shared) largest = total;
  if (largest * 8 > total * r.ints[i_kvHeads_]) p.splits = kSplits;
  return p;
}

int64_t cache_elements(const Record& r) { return (int64_t)r.ints[i_cacheRows_] * r.ints[i_kvHeads_] * r.ints[i_headDim_]; }

// Scratch: dout . out of every row and head, then each split's sums for keys and for values.
float* deltas(const Record& r) { return (float*)r.scratch; }
float* split_sums(const Record& r, int64_t split) {
  return (float*)r.scratch + up((int64_t)r.ints[i_rows_] * r.ints[i_queryHeads_], 16) * 16 + split * 2 * cache_elements(r);
}

struct Work {
  alignas(64) float query[kPairs * kHeadStride], dout[kPairs * kHeadStride];                                              // [pair][headDim]
  alignas(64) float query_rows[kPairs * kLargestHead], dout_rows[kPairs * kLargestHead];                                  // [headDim/16][pairs][16]
  alignas(64) float keys[kKeys * kLargestHead], values[kKeys * kLargestHead];                                             // [keys/16][headDim][16]
  alignas(64) float key_rows[kKeys * kLargestHead];                                                                       // [headDim/16][keys][16]
  alignas(64) float p[kPairs * kStride], ds[kPairs * kStride];                                                            // [pair][key]
  alignas(64) float dkeys[kKeys * kLargestHead], dvalues[kKeys * kLargestHead], dquery[kPairs * kLargestHead];            // [row][headDim]
  int64_t visible[kPairs];                                                                                                // keys that a pair sees
  int32_t rows[kKeys];
};
static_assert(sizeof(Work) + 8 * 1024 <= kChunkStack, "and some room for what is called");

// The part of a chunk that one sequence is.
struct Unit {
  const Record& r;
  Sequence q;
  int64_t kv_head, group, dim, width, total;   // width: dim in whole panels
  int64_t place(int64_t pair) const {
    return ((q.row + pair / group) * r.ints[i_queryHeads_] + kv_head * group + pair % group) * dim;
  }
  int64_t visible(int64_t pair) const { return total - q.rows + pair / group + 1; }
};

// Rows to [width/16][count][16].
void pack_panels(const float* const* rows, int64_t count, int64_t dim, int64_t stride, float* out) {
  for (int64_t d = 0; d < dim; d += kPanel, out += stride * kPanel) {
    if (d + kPanel <= dim) {
      for (int64_t j = 0; j < count; j++) memcpy(out + j * kPanel, rows[j] + d, kPanel * sizeof(float));
    } else {
      for (int64_t j = 0; j < count; j++)
        for (int64_t i = 0; i < kPanel; i++) out[j * kPanel + i] = d + i < dim ? rows[j][d + i] : 0;
    }
  }
}
// Rows to [tiles of `tile`][dim][16].
void pack_tiles(const float* const* rows, int64_t count, int64_t dim, int64_t tile, float* out) {
  for (int64_t t = 0; t < count; t += tile, out += dim * kPanel) {
    const float* lanes[kPanel] = {};
    for (int64_t i = 0; i < tile && t + i < count; i++) lanes[i] = rows[t + i];
    load_transposed(lanes, dim, out);
  }
}

// Scores to probabilities and dp to ds, in place: the first n of them, zeros up to `end` (padded: all lanes are there).
void differentiate(float* p, float* ds, int64_t n, int64_t end, float scale, float lse, float delta) {
  const auto one = [=](int64_t j, auto part) {
    const vf e = part(vexp_down(fma(load(p + j), splat(scale), splat(-lse))));
    store(p + j, e);
    store(ds + j, part(e * (load(ds + j) - delta) * scale));
  };
  int64_t j = 0;
  for (; j + W <= n; j += W) one(j, [](vf v) { return v; });
  for (; j < end; j += W) one(j, [mask = first_lanes(n - j)](vf v) { return chosen(mask, v, vf{}); });
}

void add_row(const float* from, int64_t n, float* to) {
  int64_t i = 0;
  for (; i + W <= n; i += W) store(to + i, load(to + i) + load(from + i));
  for (; i < n; i++) to[i] += from[i];
}

// Pairs [first, first + pairs) against the block of keys [k0, k0 + count) in z.
void pass(Work& z, const Unit& u, int64_t first, int64_t pairs, int64_t k0, int64_t count) {
  const Record& r = u.r;
  const float scale = r.floats[f_scale_];
  const int64_t dim = u.dim, width = u.width;
  const float *query[kPairs], *dout[kPairs];
  for (int64_t i = 0; i < pairs; i++) {
    query[i] = floats(r, query_) + u.place(first + i);
    dout[i] = floats(r, dout_) + u.place(first + i);
    z.visible[i] = u.visible(first + i);
  }
  for (int64_t i = 0; i < pairs; i++) {
    memcpy(z.query + i * kHeadStride, query[i], (size_t)dim * sizeof(float));
    memcpy(z.dout + i * kHeadStride, dout[i], (size_t)dim * sizeof(float));
  }
  pack_panels(query, pairs, dim, kPairs, z.query_rows);
  pack_panels(dout, pairs, dim, kPairs, z.dout_rows);
  const int64_t seen = smaller(count, z.visible[pairs - 1] - k0);
  for (int64_t t = 0; t < pairs; t += kRowPanel) {
    const int64_t rows = smaller(kRowPanel, pairs - t), here = clamp(z.visible[t + rows - 1] - k0, 0, seen);
    float *p = z.p + t * kStride, *ds = z.ds + t * kStride;
    if (here > 0) {
      const int64_t tile = t * kHeadStride;
      multiply<1, kHeadStride>(rows, dim, z.query + tile, z.keys, dim * kPanel, up(here, kPanel), {p, kStride, nullptr, false});
      multiply<1, kHeadStride>(rows, dim, z.dout + tile, z.values, dim * kPanel, up(here, kPanel), {ds, kStride, nullptr, false});
    }
    for (int64_t i = 0; i < rows; i++) {
      const int64_t at = u.place(first + t + i) / dim;
      const int64_t n = clamp(z.visible[t + i] - k0, 0, seen);
      differentiate(p + i * kStride, ds + i * kStride, n, n ? up(here, W) * W : 0, scale, floats(r, logsumexp_)[at], deltas(r)[at]);
      // What sees one key alone takes it whole, whatever its score: what rounding leaves here AdamW would take for a direction.
      if (z.visible[t + i] == 1) ds[i * kStride] = 0;
      const int64_t zeros = n ? up(here, W) * W : 0;
      if (zeros < seen) {
        memset(p + i * kStride + zeros, 0, (size_t)(seen - zeros) * sizeof(float));
        memset(ds + i * kStride + zeros, 0, (size_t)(seen - zeros) * sizeof(float));
      }
    }
    if (here > 0) multiply<1, kStride>(rows, here, ds, z.key_rows, kKeys * kPanel, width / kPanel, {z.dquery, width, nullptr, false});
    for (int64_t i = 0; i < rows && here > 0; i++) {
      float* to = floats(r, dquery_) + u.place(first + t + i);
      if (k0 == 0) memcpy(to, z.dquery + i * width, (size_t)dim * sizeof(float));   // every pair sees the first key
      else add_row(z.dquery + i * width, dim, to);
    }
  }
  for (int64_t t = 0; t < seen; t += kRowPanel) {
    const int64_t rows = smaller(kRowPanel, seen - t);
    int64_t from = 0;   // the first pair that sees one of these keys
    while (z.visible[from] <= k0 + t) from++;
    const int64_t n = pairs - from, at = from * kStride + t;
    multiply<kStride, 1>(rows, n, z.p + at, z.dout_rows + from * kPanel, kPairs * kPanel, width / kPanel, {z.dvalues + t * width, width, nullptr, true});
    multiply<kStride, 1>(rows, n, z.ds + at, z.query_rows + from * kPanel, kPairs * kPanel, width / kPanel, {z.dkeys + t * width, width, nullptr, true});
  }
}

// One sequence's blocks of pairs whose number is `split` modulo `splits`; `block` counts them on.
void sequence_grad(Work& z, const Unit& u, int64_t& block, int64_t split, int64_t splits, float* dkeys, float* dvalues) {
  const Record& r = u.r;
  const int64_t stride = r.ints[i_kvHeads_] * u.dim, pairs = u.q.rows * u.group, blocks = up(pairs, kPairs);
  const float *keys = floats(r, keys_) + u.kv_head * u.dim, *values = floats(r, values_) + u.kv_head * u.dim;
  Walk walk = {ints(r, segments_), u.q.segment, u.q.segment + u.q.segments, 0};
  for (int64_t k0 = 0; k0 < u.total; k0 += kKeys) {
    const int64_t count = smaller(kKeys, u.total - k0);
    walk.next(z.rows, count);
    const float *key[kKeys], *value[kKeys];
    for (int64_t j = 0; j < count; j++) {
      key[j] = keys + z.rows[j] * stride;
      value[j] = values + z.rows[j] * stride;
    }
    pack_tiles(key, count, u.dim, kPanel, z.keys);
    pack_tiles(value, count, u.dim, kPanel, z.values);
    pack_panels(key, count, u.dim, kKeys, z.key_rows);
    memset(z.dkeys, 0, (size_t)(count * u.width) * sizeof(float));
    memset(z.dvalues, 0, (size_t)(count * u.width) * sizeof(float));
    for (int64_t b = 0; b < blocks; b++) {
      const int64_t first = b * kPairs, here = smaller(kPairs, pairs - first);
      if ((block + b) % splits != split || u.visible(first + here - 1) <= k0) continue;
      pass(z, u, first, here, k0, count);
    }
    for (int64_t j = 0; j < count; j++) {
      add_row(z.dkeys + j * u.width, u.dim, dkeys + z.rows[j] * stride + u.kv_head * u.dim);
      add_row(z.dvalues + j * u.width, u.dim, dvalues + z.rows[j] * stride + u.kv_head * u.dim);
    }
  }
  block += blocks;
}

// Zeros where sums are made, and in the rows of dquery that no sequence has; dout . out.
int prepare(const Record& r, const Plan& p, int chunk, int chunks) {
  const int64_t dim = r.ints[i_headDim_], heads = r.ints[i_queryHeads_];
  const Range rows = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = rows.begin; m < rows.end; m++) {
    bool used = false;
    for (int64_t s = 0; s < r.ints[i_sequenceCount_] && !used; s++) {
      const int32_t* q = ints(r, sequences_) + s * 4;
      used = m >= q[0] && m < q[0] + q[1];
    }
    if (!used) memset(floats(r, dquery_) + m * heads * dim, 0, (size_t)(heads * dim) * sizeof(float));
    for (int64_t h = m * heads; h < (m + 1) * heads; h++) {
      const float *a = floats(r, dout_) + h * dim, *b = floats(r, out_) + h * dim;
      vf total = {};
      int64_t d = 0;
      for (; d + W <= dim; d += W) total = fma(load(a + d), load(b + d), total);
      float delta = sum(total);
      for (; d < dim; d++) delta += a[d] * b[d];
      deltas(r)[h] = delta;
    }
  }
  const Range cached = part(cache_elements(r), chunk, chunks);
  const size_t bytes = (size_t)(cached.end - cached.begin) * sizeof(float);
  if (p.splits > 1) {
    for (int64_t i = 0; i < 2 * p.splits; i++) memset(split_sums(r, 0) + i * cache_elements(r) + cached.begin, 0, bytes);
  } else {
    memset(floats(r, dkeys_) + cached.begin, 0, bytes);
    memset(floats(r, dvalues_) + cached.begin, 0, bytes);
  }
  return kOk;
}

}  // namespace

size_t attention_grad_scratch(const Record& r) {
  const int64_t rows = up((int64_t)r.ints[i_rows_] * r.ints[i_queryHeads_], 16) * 16;
  return (size_t)(rows + kSplits * 2 * cache_elements(r)) * sizeof(float);
}

int attention_grad_chunks(const Record& r, int stage) {
  const Plan p = plan_of(r);
  if (p.wrong) return stage == 0;
  if (stage == 0) return row_chunks(larger(r.ints[i_rows_], r.ints[i_cacheRows_]), (int64_t)r.ints[i_queryHeads_] * r.ints[i_headDim_]);
  if (stage == 1) return (int)smaller(p.clusters * r.ints[i_kvHeads_] * p.splits, INT32_MAX);
  return p.splits > 1 ? row_chunks(r.ints[i_cacheRows_], (int64_t)r.ints[i_kvHeads_] * r.ints[i_headDim_]) : 0;
}

int attention_grad_run(const Record& r, int stage, int chunk, int chunks) {
  const Plan p = plan_of(r);
  if (p.wrong) return kIndexOutOfRange;
  if (r.ints[i_headDim_] > kLargestHead) return kSizeOutOfRange;
  if (stage == 0) return prepare(r, p, chunk, chunks);
  if (stage == 2) {
    const Range range = part(cache_elements(r), chunk, chunks);
    for (int which = 0; which < 2; which++) {
      float* out = floats(r, which ? dvalues_ : dkeys_);
      const float* from = split_sums(r, 0) + which * cache_elements(r);
      memcpy(out + range.begin, from + range.begin, (size_t)(range.end - range.begin) * sizeof(float));
      for (int64_t s = 1; s < p.splits; s++)
        add_row(from + s * 2 * cache_elements(r) + range.begin, range.end - range.begin, out + range.begin);
    }
    return kOk;
  }
  Work z;
  const int64_t cluster = chunk / p.splits / r.ints[i_kvHeads_], split = chunk % p.splits;
  float* dkeys = p.splits > 1 ? split_sums(r, split) : floats(r, dkeys_);
  float* dvalues = p.splits > 1 ? dkeys + cache_elements(r) : floats(r, dvalues_);
  int64_t block = 0;
  for (int64_t s = p.shared ? 0 : cluster; s < (p.shared ? r.ints[i_sequenceCount_] : cluster + 1); s++) {
    Unit u = {r, {}, chunk / p.splits % r.ints[i_kvHeads_], group_of(r), r.ints[i_headDim_], up(r.ints[i_headDim_], kPanel) * kPanel, 0};
    sequence_at(r, s, &u.q);
    u.total = keys_of(r, u.q);
    if (u.q.rows > 0) sequence_grad(z, u, block, split, p.splits, dkeys, dvalues);
  }
  return kOk;
}

}  // namespace openelm::OPENELM_ISA
