// Cross-entropy of logits x W^T with its gradients, a block of valid rows at a time: their logits, transposed to [vocabulary][rows],
// are all that is held. The stages below are repeated for every block of rows: gather and pack the rows; logits, with maxima and
// sums over each block of the vocabulary; each row's logsumexp and loss; the logits' gradient, and from it a vocabulary block's
// share of the weight's gradient and of dx, the latter added up by splits of the vocabulary; dx from the splits.
#include "gemm.h"

namespace openelm::OPENELM_ISA {

using namespace crossEntropy_op;

namespace {

// More rows in a block take more memory and pack the weight, and pass over its gradient, less often.
constexpr int64_t kRows = 192, kMostRows = 384, kVocabulary = 240, kDepth = 384, kSplits = 16;
constexpr int64_t kHalf = kVocabulary / 2;   // rows of the weight that are packed at once for logits
static_assert(kVocabulary % kProductRows == 0 && kHalf % kProductRows == 0 && kRows % kProductColumns == 0 && kMostRows % kProductColumns == 0, "whole tiles");

enum Stage { kGather, kLogits, kLosses, kGradients, kReduce, kStages };

struct Header { int64_t next, count, rows[kMostRows]; };   // where the next block begins; this block's rows

// Parts of the scratch; sizes in floats.
struct Layout {
  int64_t rows, columns, vocabulary, blocks, splits;
  Header* header;
  float *inputs, *panels, *logits, *partial, *lse, *factor, *scale, *spread, *dx;
  int64_t end;   // bytes
};

// Of a block. Where the weight learns its gradient and moments take far more memory.
int64_t rows_of(const Record& r) { return r.operands[weightGrad_].data || r.operands[weightGrad_].elements ? kMostRows : kRows; }

// Blocks of the vocabulary: as large as each other but for a tile, and an even number, so that two threads end together.
int64_t blocks_of(const Record& r) {
  const int64_t blocks = up(r.ints[i_vocabulary_], kVocabulary);
  return blocks > 1 ? blocks + blocks % 2 : blocks;
}
Range block_of(int64_t vocabulary, int64_t block, int64_t blocks) {
  const Range tiles = part(up(vocabulary, kProductRows), block, blocks);
  return {tiles.begin * kProductRows, smaller(tiles.end * kProductRows, vocabulary)};
}

Layout layout_of(const Record& r) {
  Layout z;
  z.rows = rows_of(r);
  z.columns = r.ints[i_columns_];
  z.vocabulary = r.ints[i_vocabulary_];
  z.blocks = blocks_of(r);
  z.splits = smaller(z.blocks, kSplits);
  const int64_t wide = up(z.columns, kProductColumns) * kProductColumns;
  const bool gradient = r.operands[dx_].data || r.operands[weightGrad_].data || r.operands[dx_].elements || r.operands[weightGrad_].elements;
  char* at = (char*)r.scratch;
  int64_t used = 0;
  auto take = [&](int64_t count) {
    float* p = (float*)(at + used);
    used += up(count * 4, 64) * 64;
    return p;
  };
  z.header = (Header*)take(sizeof(Header) / 4);
  z.inputs = take(z.rows * z.columns + kSlack);                 // [rows/32][columns][32]
  z.panels = take(gradient ? z.rows * wide : 0);                // [columns/32][rows][32]
  z.logits = take(z.vocabulary * z.rows);                       // [vocabulary][rows]
  z.partial = take(z.blocks * 3 * z.rows);                      // of each block: maxima, sums of exponentials, sums of logits
  z.lse = take(z.rows);
  z.factor = take(z.rows);   // of the probabilities in each row's gradient; of its target; of all logits (smoothing)
  z.scale = take(z.rows);
  z.spread = take(z.rows);
  z.dx = take(gradient ? z.splits * z.rows * z.columns : 0);    // [splits][rows][columns]
  z.end = used;
  return z;
}

// Finds this block's rows, those with a target, and packs them; the rows passed over get zeros.
int gather(const Record& r, const Layout& z, int64_t block) {
  Header& h = *z.header;
  if (block == 0) h.next = 0;
  h.count = 0;
  const int64_t n = z.columns;
  float *dx = floats(r, dx_), *losses = floats(r, losses_);
  int64_t m = h.next;
  for (; m < r.ints[i_rows_]; m++) {
    const int32_t target = ints(r, targets_)[m];
    if (target >= z.vocabulary) return kIndexOutOfRange;
    if (target < 0) {
      losses[2 * m] = losses[2 * m + 1] = 0;
      if (dx) memset(dx + m * n, 0, (size_t)n * sizeof(float));
    } else {
      if (h.count == z.rows) break;
      h.rows[h.count++] = m;
    }
  }
  h.next = m;
  // Rows may lie apart: they are brought together a panel at a time.
  const bool gradient = dx || floats(r, weightGrad_);
  const int64_t wide = z.rows * kProductColumns;
  for (int64_t i = 0; i < h.count; i += kProductColumns) {
    const int64_t rows = smaller(kProductColumns, h.count - i);
    bool together = h.rows[i + rows - 1] - h.rows[i] == rows - 1;
    float* out = z.inputs + i * n;
    if (together) {
      pack_inner<kProductColumns>(floats(r, x_) + h.rows[i] * n, n, rows, n, out);
    } else {
      for (int64_t k = 0; k < n; k++)
        for (int64_t j = 0; j < kProductColumns; j++) out[k * kProductColumns + j] = j < rows ? floats(r, x_)[h.rows[i + j] * n + k] : 0;
    }
    for (int64_t j = 0; j < rows && gradient; j++)
      pack_outer<kProductColumns>(floats(r, x_) + h.rows[i + j] * n, n, n, 1, z.panels + (i + j) * kProductColumns, wide);
  }
  return kOk;
}

// Logits of a vocabulary block, and what each row's logsumexp needs of them.
void logits_of(const Record& r, const Layout& z, int64_t block) {
  alignas(64) float tiles[kHalf / kProductRows * (kDepth * kProductRows + kSlack)];
  const auto [v0, v1] = block_of(z.vocabulary, block, z.blocks);
  const int64_t n = z.columns, count = z.header->count, depths = larger(up(n, kDepth), 1);
  float* out = z.logits + v0 * z.rows;
  for (int64_t d = 0; d < depths; d++) {
    const Range k = part(n, d, depths);
    const int64_t depth = k.end - k.begin, step = tile_step(depth);
    for (int64_t v = v0; v < v1; v += kHalf) {
      const int64_t here = smaller(kHalf, v1 - v);
      if (const Weight* weight = r.operands[weight_].weight) weight_tiles(*weight, {v, v + here}, k, tiles, step);
      else for (int64_t i = 0; i < here; i += kProductRows)
        pack_inner<kProductRows>(floats(r, weight_) + (v + i) * n + k.begin, n, smaller(kProductRows, here - i), depth, tiles + i / kProductRows * step);
      multiply_packed(here, up(count, kProductColumns) * kProductColumns, depth, tiles, step, z.inputs + k.begin * kProductColumns, n * kProductColumns,
                      {out + (v - v0) * z.rows, z.rows, nullptr, d > 0});
    }
  }
  float* partial = z.partial + block * 3 * z.rows;
  for (int64_t i = 0; i < count; i += W) {
    vf top = splat(-INFINITY), total = {}, all = {};
    for (int64_t v = 0; v < v1 - v0; v++) top = vmax(load(out + v * z.rows + i), top);
    for (int64_t v = 0; v < v1 - v0; v++) {
      const vf x = load(out + v * z.rows + i);
      total += vexp_down(x - top);
      all += x;
    }
    store(partial + i, top);
    store(partial + z.rows + i, total);
    store(partial + 2 * z.rows + i, all);
  }
}

// A vector of rows: logsumexp and losses.
void losses_of(const Record& r, const Layout& z, int64_t i) {
  const Header& h = *z.header;
  const float z_loss = r.floats[f_zLoss_], *row_weights = floats(r, rowWeights_);
  const double smoothing = r.floats[f_labelSmoothing_];
  vf top = splat(-INFINITY);
  for (int64_t b = 0; b < z.blocks; b++) top = vmax(load(z.partial + b * 3 * z.rows + i), top);
  double total[W] = {}, all[W] = {};
  for (int64_t b = 0; b < z.blocks; b++) {
    const float* partial = z.partial + b * 3 * z.rows + i;
    const vf shrunk = load(partial + z.rows) * vexp_down(load(partial) - top);
    for (int j = 0; j < W; j++) {
      total[j] += (double)shrunk[j];
      all[j] += (double)partial[2 * z.rows + j];
    }
  }
  for (int j = 0; j < W && i + j < h.count; j++) {
    const int64_t row = h.rows[i + j];
    const double lse = (double)top[j] + log(total[j]), logit = z.logits[(int64_t)ints(r, targets_)[row] * z.rows + i + j];
    const double mean = all[j] / (double)z.vocabulary;
    floats(r, losses_)[2 * row] = (float)((1 - smoothing) * (lse - logit) + smoothing * (lse - mean));
    floats(r, losses_)[2 * row + 1] = (float)(lse * lse);
    z.lse[i + j] = (float)lse;
    const double scale = (double)floats(r, scale_)[0] * (row_weights ? (double)row_weights[row] : 1);
    z.factor[i + j] = (float)(scale * (1 + 2 * (double)z_loss * lse));
    z.scale[i + j] = (float)scale;
    z.spread[i + j] = (float)(scale * smoothing / (double)z.vocabulary);
  }
}

// A vocabulary block's logits to their gradients, in place.
void differentiate(const Record& r, const Layout& z, int64_t v0, int64_t v1) {
  const Header& h = *z.header;
  const float smoothing = r.floats[f_labelSmoothing_];
  for (int64_t i = 0; i < h.count; i += W) {
    const vf lse = load(z.lse + i), factor = load(z.factor + i), spread = load(z.spread + i);
    for (int64_t v = v0; v < v1; v++) {
      float* p = z.logits + v * z.rows + i;
      store(p, fma(vexp_down(load(p) - lse), factor, -spread));
    }
  }
  for (int64_t i = 0; i < h.count; i++) {
    const int64_t target = ints(r, targets_)[h.rows[i]];
    if (target >= v0 && target < v1) z.logits[target * z.rows + i] -= z.scale[i] * (1 - smoothing);
  }
}

// A split of the vocabulary: its rows of the weight's gradient, and its share of dx.
void gradients_of(const Record& r, const Layout& z, int64_t split) {
  // dlogits of a block, packed once by vocabulary and once by rows.
  constexpr int64_t kSize = larger(kVocabulary / kProductRows * (kMostRows * kProductRows + kSlack), up(kMostRows, kProductRows) * (kVocabulary * kProductRows + kSlack));
  alignas(64) float tiles[kSize];
  alignas(64) float panel[kVocabulary * kProductColumns];
  const int64_t n = z.columns, count = z.header->count;
  float *weight_grad = floats(r, weightGrad_), *dx = z.dx + split * z.rows * n;
  const float* weight = floats(r, weight_);
  const Weight* panels = r.operands[weight_].weight;
  for (int64_t b = split; b < z.blocks; b += z.splits) {   // the first splits have the most: threads end together
    const auto [v0, v1] = block_of(z.vocabulary, b, z.blocks);
    const int64_t here = v1 - v0;
    const float* dlogits = z.logits + v0 * z.rows;
    differentiate(r, z, v0, v1);
    if (weight_grad) {
      const int64_t step = tile_step(count);
      for (int64_t i = 0; i < here; i += kProductRows)
        pack_inner<kProductRows>(dlogits + i * z.rows, z.rows, smaller(kProductRows, here - i), count, tiles + i / kProductRows * step);
      multiply_packed(here, n, count, tiles, step, z.panels, z.rows * kProductColumns, {weight_grad + v0 * n, n, nullptr, true});
    }
    if (floats(r, dx_)) {
      const int64_t step = tile_step(here);
      pack_outer<kProductRows>(dlogits, z.rows, count, here, tiles, step);
      for (int64_t j = 0; j < n; j += kProductColumns) {
        const int64_t width = smaller(kProductColumns, n - j);
        if (panels) weight_panels(*panels, {v0, v1}, {j, j + width}, panel, 0);
        else pack_outer<kProductColumns>(weight + v0 * n + j, n, width, here, panel, 0);
        multiply_packed(count, width, here, tiles, step, panel, 0, {dx + j, n, nullptr, b > split});
      }
    }
  }
}

void reduce(const Record& r, const Layout& z, Range rows) {
  const int64_t n = z.columns;
  for (int64_t i = rows.begin; i < rows.end; i++) {
    float* to = floats(r, dx_) + z.header->rows[i] * n;
    for (int64_t s = 0; s < z.splits; s++) {
      const float* from = z.dx + (s * z.rows + i) * n;
      int64_t c = 0;
      for (; c + W <= n; c += W) store(to + c, s ? load(to + c) + load(from + c) : load(from + c));
      for (; c < n; c++) to[c] = s ? to[c] + from[c] : from[c];
    }
  }
}

}  // namespace

// Over a frozen weight with many rows it is another (frozen_loss.cc); a run with fewer rows may be this one.
size_t cross_entropy_scratch(const Record& r) {
  const size_t bytes = (size_t)layout_of(r).end, other = frozen_loss_fits(r) ? frozen_loss_scratch(r) : 0;
  return bytes > other ? bytes : other;
}

// All stages of all blocks: one to the table.
int cross_entropy_repeats(const Record& r) {
  const int stages = (int)larger(up(r.ints[i_rows_], rows_of(r)), 1) * kStages, others = frozen_loss_fits(r) ? frozen_loss_stages(r) : 0;
  return stages > others ? stages : others;
}

int cross_entropy_chunks(const Record& r, int stage) {
  if (frozen_loss_fits(r)) return frozen_loss_chunks(r, stage);
  if (r.ints[i_rows_] <= stage / kStages * rows_of(r)) return 0;
  const bool gradient = floats(r, dx_) || floats(r, weightGrad_);
  const int64_t blocks = blocks_of(r);
  switch (stage % kStages) {
    case kGather: return 1;
    case kLogits: return (int)blocks;
    case kLosses: return (int)(rows_of(r) / 16);
    case kGradients: return gradient ? (int)smaller(blocks, kSplits) : 0;
    default: return floats(r, dx_) ? 8 : 0;
  }
}

int cross_entropy_run(const Record& r, int stage, int chunk, int chunks) {
  if (frozen_loss_fits(r)) return frozen_loss_run(r, stage, chunk, chunks);
  const Layout z = layout_of(r);
  if (stage % kStages == kGather) return gather(r, z, stage / kStages);
  const int64_t count = z.header->count;
  if (count == 0) return kOk;
  switch (stage % kStages) {
    case kLogits: logits_of(r, z, chunk); break;
    case kLosses:
      for (int64_t i = chunk * 16; i < smaller(chunk * 16 + 16, count); i += W) losses_of(r, z, i);
      break;
    case kGradients: gradients_of(r, z, chunk); break;
    default: reduce(r, z, part(count, chunk, chunks)); break;
  }
  return kOk;
}

}  // namespace openelm::OPENELM_ISA
