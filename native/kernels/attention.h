// What attention and its derivative share: how sequences lie in rows and their keys in segments of the cache (see `attention` in
// the op table; both ops have these operands and sizes in the same places), and blocks of products.
#pragma once
#include "internal.h"

namespace openelm::OPENELM_ISA {

constexpr int kLargestHead = 128;
constexpr int kHeadStride = kLargestHead + 16;   // keeps the rows of a tile off each other's cache sets

struct Sequence { int64_t row, rows, segment, segments; };

static inline bool sequence_at(const Record& r, int64_t s, Sequence* q) {
  const int32_t* p = ints(r, attention_op::sequences_) + s * 4;
  *q = {p[0], p[1], p[2], p[3]};
  return q->row >= 0 && q->rows >= 0 && q->row + q->rows <= r.ints[attention_op::i_rows_] && q->segment >= 0 && q->segments >= 0 &&
         q->segment + q->segments <= r.ints[attention_op::i_segmentCount_];
}

static inline int64_t group_of(const Record& r) { return larger(r.ints[attention_op::i_queryHeads_] / larger(r.ints[attention_op::i_kvHeads_], 1), 1); }

// Walks a sequence's segments laid end to end.
struct Walk {
  const int32_t* segments;
  int64_t segment, end, offset;
  void next(int32_t* rows, int64_t count) {
    for (int64_t i = 0; i < count;) {
      const int32_t start = segments[segment * 2], length = segments[segment * 2 + 1];
      if (offset >= length) { segment++; offset = 0; continue; }
      rows[i++] = start + (int32_t)offset++;
    }
  }
};

// The sequence's keys, or -1 when a segment leaves the cache or there are fewer keys than rows.
static inline int64_t keys_of(const Record& r, const Sequence& q) {
  int64_t total = 0;
  for (int64_t s = q.segment; s < q.segment + q.segments; s++) {
    const int64_t start = ints(r, attention_op::segments_)[s * 2], length = ints(r, attention_op::segments_)[s * 2 + 1];
    if (start < 0 || length < 0 || start + length > r.ints[attention_op::i_cacheRows_]) return -1;
    total += length;
  }
  return total < q.rows ? -1 : total;
}

// c = a b (+ c): `rows` rows, `count` panels of b.
template <int KS, int RS>
static inline void multiply(int64_t rows, int64_t k, const float* a, const float* b, int64_t stride, int64_t count, TileOut out) {
  int64_t j = 0;
  if constexpr (kTilePanels == 2)
    for (; j + 2 <= count; j += 2, out.c += 2 * kPanel) tile_rows<2, KS, RS>(rows, k, a, b + j * stride, stride, out);
  for (; j < count; j++, out.c += kPanel) tile_rows<1, KS, RS>(rows, k, a, b + j * stride, stride, out);
}

}  // namespace openelm::OPENELM_ISA
