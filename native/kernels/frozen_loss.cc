// The loss (cross_entropy.cc) over a frozen weight, where the gradient by x is all that is learned from it: a piece of the vocabulary
// at a time, as attention goes over keys. A piece's logits become e^(logit - the row's largest so far); their sums, and their
// product with the weight, of which dx is made, are scaled as the largest grows. So logits are multiplied once, are never all there,
// and both products are strassen.cc's. A row's target is left out of its sums: 1 - its probability is what the others have.
// Stages, repeated for every piece for every group of rows: gather the rows; pack their sums; logits; exponentials and their sums,
// packed; the product with the weight; losses and dx. The first two are the first piece's alone, the last the last one's.
#include <cfloat>

#include "strassen.h"

namespace openelm::OPENELM_ISA {

using namespace crossEntropy_op;
using namespace strassen;

namespace {

constexpr int64_t kPiece = kRound;            // of the vocabulary, at most
constexpr int kTileChunks = 24, kColumnChunks = 16, kRowChunks = 16;
static_assert(kColumnChunks <= kPlaces, "as many as can be told apart");

enum Stage { kGather, kPack, kLogits, kExponentials, kProducts, kLosses, kStages };

struct Header {
  uint32_t taken;                             // places for blocks of the weight
  bool together;                              // are the rows in x?
  int64_t count, rows[kMostRows];             // those of this group, by their number in x
};

// Of each row: the largest logit but the target's, the others' sum relative to it, the target's.
struct Sums { double total; float top, target; };

// Parts of the scratch.
struct Layout {
  int64_t columns, vocabulary, pieces, packed_step;
  Header* header;
  Sums* sums;
  float *x, *logits, *dx, *packed, *packed_logits, *places;   // packed: for each round of columns
  int64_t place, end;                                         // floats, bytes
};

bool nests(const Record& r) { return may_nest(r.ints[i_columns_], r.ints[i_vocabulary_]); }
// How many rows are cut.
int64_t grid_of(const Record& r, int64_t count) { return count >= kTwoLevelRows && nests(r) ? 4 : count >= kLeastRows ? 2 : 1; }
bool has_gradient(const Record& r) { return r.operands[dx_].data || r.operands[dx_].elements; }

// x W^T for a piece of the vocabulary, and its exponentials times W.
Product logits_product(const Record& r, const Layout& z, int64_t rows, const float* x, Range piece) {
  return {rows, z.columns, piece.end - piece.begin, x, r.operands[weight_].weight, true, z.logits, nullptr, z.columns, kPiece, 0, piece.begin};
}
Product dx_product(const Record& r, const Layout& z, int64_t rows, Range piece) {
  return {rows, piece.end - piece.begin, z.columns, z.logits, r.operands[weight_].weight, false, z.dx, nullptr, kPiece, z.columns, piece.begin, 0};
}

// Of as many rows as there may be, or fewer.
Layout layout_of(const Record& r) {
  Layout z = {};
  z.columns = r.ints[i_columns_];
  z.vocabulary = r.ints[i_vocabulary_];
  z.pieces = up(z.vocabulary, kPiece);
  const int64_t rows = smaller(r.ints[i_rows_], kMostRows), rounds = rounds_of(z.columns);
  int64_t packed_logits = 0;
  for (int64_t grid = 1; grid <= (nests(r) ? 4 : 2); grid *= 2) {
    const Cut x = cut_of(logits_product(r, z, rows, nullptr, {0, kPiece}), rows, grid), dx = cut_of(dx_product(r, z, rows, {0, kPiece}), rows, grid);
    z.packed_step = larger(z.packed_step, x.packed);
    packed_logits = larger(packed_logits, dx.packed);
    z.place = larger(z.place, larger(x.place, dx.place));
  }
  int64_t used = 0;
  const auto take = [&](int64_t bytes) {
    char* p = (char*)r.scratch + used;
    used += up(bytes, 64) * 64;
    return p;
  };
  const auto take_floats = [&](int64_t count) { return (float*)take(count * (int64_t)sizeof(float)); };
  z.header = (Header*)take(sizeof(Header));
  z.sums = (Sums*)take(rows * (int64_t)sizeof(Sums));
  z.logits = take_floats(rows * kPiece);
  z.packed = take_floats(rounds * z.packed_step);
  z.x = z.dx = take_floats(rows * z.columns);   // x is packed before there is a dx
  z.packed_logits = take_floats(has_gradient(r) ? packed_logits : 0);
  z.places = take_floats(kColumnChunks * z.place);
  z.end = used;
  return z;
}

void pack_both(const Product& p, const Cut& z, Range k, int64_t tile, float* packed) {
  for (int half = 0; half < 2; half++) pack_tile(p, z, k, tile, half, packed);
}

// Pairs of the widest units, so that threads end together.
Range piece_of(const Layout& z, int64_t piece) {
  constexpr int64_t kUnit = 8 * kWidth;
  const Range pairs = part(up(z.vocabulary, kUnit), piece, z.pieces);
  return {pairs.begin * kUnit, smaller(pairs.end * kUnit, z.vocabulary)};
}

// This group's share of the rows that have a target, brought together where they lie apart; the first group gives the others zeros.
int gather(const Record& r, const Layout& z, int64_t group) {
  Header& h = *z.header;
  const int64_t n = z.columns, rows = r.ints[i_rows_];
  const int32_t* targets = ints(r, targets_);
  int64_t all = 0, number = 0;
  h.taken = 0;
  h.count = 0;
  for (int64_t m = 0; m < rows; m++) {
    if (targets[m] >= z.vocabulary) return kIndexOutOfRange;
    all += targets[m] >= 0;
  }
  const int64_t groups = up(all, kMostRows);
  const Range mine = group < groups ? part(all, group, groups) : Range{all, all};
  for (int64_t m = 0; m < rows; m++) {
    if (targets[m] < 0) {
      if (group > 0) continue;
      floats(r, losses_)[2 * m] = floats(r, losses_)[2 * m + 1] = 0;
      if (float* dx = floats(r, dx_)) memset(dx + m * n, 0, (size_t)n * sizeof(float));
    } else if (number++ >= mine.begin && number <= mine.end) {
      z.sums[h.count] = {0, -INFINITY, 0};
      h.rows[h.count++] = m;
    }
  }
  h.together = h.count > 0 && h.rows[h.count - 1] - h.rows[0] == h.count - 1;
  for (int64_t i = 0; i < h.count && !h.together; i++) memcpy(z.x + i * n, floats(r, x_) + h.rows[i] * n, (size_t)n * sizeof(float));
  return kOk;
}

// A row's logits of a piece to exponentials; dx so far is scaled as the largest grows.
void soften(const Record& r, const Layout& z, int64_t row, Range piece, bool first) {
  Sums& sums = z.sums[row];
  float* logits = z.logits + row * kPiece;
  const int64_t count = piece.end - piece.begin, target = ints(r, targets_)[z.header->rows[row]] - piece.begin;
  const bool here = target >= 0 && target < count;
  if (here) {
    sums.target = logits[target];
    logits[target] = -FLT_MAX;
  }
  vf most = splat(sums.top), total = {};
  for (int64_t i = 0; i < count; i += W) most = vmax(load(logits + i), most);
  const float top = largest(most);
  for (int64_t i = 0; i < count; i += W) {
    const vf e = vexp_down(load(logits + i) - top);
    total += e;
    store(logits + i, e);
  }
  if (here) logits[target] = 0;
  const double shrink = first ? 0 : exp((double)sums.top - (double)top);
  sums.total = sums.total * shrink + (double)sum(total);
  if (top > sums.top && !first && has_gradient(r)) {
    float* dx = z.dx + row * z.columns;
    by_vectors(z.columns, [&](int64_t i, auto get, auto put) { put(dx + i, get(dx + i) * (float)shrink); });
  }
  sums.top = top;
}

// A row's losses, and its dx: the others' share of it, and the target's.
void finish(const Record& r, const Layout& z, int64_t i) {
  const int64_t row = z.header->rows[i], n = z.columns;
  const Sums& s = z.sums[i];
  const double rest = (double)s.top + log(s.total), above = rest - (double)s.target;   // log of what the others weigh
  const double loss = above > 0 ? above + log1p(exp(-above)) : log1p(exp(above)), lse = (double)s.target + loss;
  floats(r, losses_)[2 * row] = (float)loss;
  floats(r, losses_)[2 * row + 1] = (float)(lse * lse);
  if (!has_gradient(r)) return;
  const float* row_weights = floats(r, rowWeights_);
  const double scale = (double)floats(r, scale_)[0] * (row_weights ? (double)row_weights[row] : 1), more = 2 * (double)r.floats[f_zLoss_] * lse;
  const vf others = splat((float)(scale * (1 + more) * exp((double)s.top - lse)));
  const vf target = splat((float)(scale * (more * exp(-loss) - exp(rest - lse))));
  float* dx = floats(r, dx_) + row * n;
  unpack_row(*r.operands[weight_].weight, ints(r, targets_)[row], dx);
  by_vectors(n, [&](int64_t c, auto get, auto put) { put(dx + c, fma(get(z.dx + i * n + c), others, get(dx + c) * target)); });
}

}  // namespace

bool frozen_loss_fits(const Record& r) {
  const int64_t columns = r.ints[i_columns_], vocabulary = r.ints[i_vocabulary_];
  const bool learns = r.operands[weightGrad_].data || r.operands[weightGrad_].elements;
  return r.operands[weight_].weight && !learns && r.floats[f_labelSmoothing_] == 0 && r.ints[i_rows_] >= kLeastRows && columns >= kLeastDepth &&
         vocabulary >= kLeastDepth && columns % (2 * kGroup) == 0 && vocabulary % (2 * kGroup) == 0;
}

size_t frozen_loss_scratch(const Record& r) { return (size_t)layout_of(r).end; }

int frozen_loss_stages(const Record& r) { return (int)(up(r.ints[i_rows_], kMostRows) * up(r.ints[i_vocabulary_], kPiece) * kStages); }

int frozen_loss_chunks(const Record& r, int stage) {
  const int64_t pieces = up(r.ints[i_vocabulary_], kPiece), repeat = stage / kStages, piece = repeat % pieces;
  if (repeat / pieces >= up(r.ints[i_rows_], kMostRows)) return 0;
  switch (stage % kStages) {
    case kGather: return piece == 0;
    case kPack: return piece == 0 ? kTileChunks : 0;
    case kLogits: return kColumnChunks;
    case kExponentials: return kTileChunks;
    case kProducts: return has_gradient(r) ? kColumnChunks : 0;
    default: return piece == pieces - 1 ? kRowChunks : 0;
  }
}

int frozen_loss_run(const Record& r, int stage, int chunk, int chunks) {
  const Layout z = layout_of(r);
  const int64_t repeat = stage / kStages, number = repeat % z.pieces;
  if (stage % kStages == kGather) return gather(r, z, repeat / z.pieces);
  Header& h = *z.header;
  if (h.count == 0) return kOk;
  const Range piece = piece_of(z, number);
  const Product logits = logits_product(r, z, h.count, h.together ? floats(r, x_) + h.rows[0] * z.columns : z.x, piece);
  const Product dx = dx_product(r, z, h.count, piece);
  const int64_t grid = grid_of(r, h.count), rounds = rounds_of(z.columns);
  const Cut cut = cut_of(logits, h.count, grid), dx_cut = cut_of(dx, h.count, grid);
  const Range all = {0, dx.k}, tiles = part(cut.tiles, chunk, chunks);
  // Columns of a product, a chunk's share of them.
  const auto columns_of = [&](const Product& p, auto body) {
    const Range mine = part(p.columns / (grid * kWidth), chunk, chunks);
    if (mine.begin == mine.end) return;
    const int place = take_place(&h.taken);
    for (int64_t i = mine.begin; i < mine.end; i++) body(i * grid * kWidth, z.places + place * z.place);
    leave_place(&h.taken, place);
  };
  switch (stage % kStages) {
    case kPack:
      for (int64_t tile = tiles.begin; tile < tiles.end; tile++)
        for (int64_t i = 0; i < rounds; i++) pack_both(logits, cut, round_of(logits, cut, i), tile, z.packed + i * z.packed_step);
      break;
    case kLogits:
      columns_of(logits, [&](int64_t column, float* place) {
        for (int64_t i = 0; i < rounds; i++) multiply(logits, cut, round_of(logits, cut, i), i == 0, column, z.packed + i * z.packed_step, place);
      });
      break;
    case kExponentials:
      for (int64_t tile = tiles.begin; tile < tiles.end; tile++) {
        for (int64_t part = 0; part < grid; part++)
          for (int64_t i = tile * kProductRows; i < smaller((tile + 1) * kProductRows, cut.height) && part * cut.height + i < h.count; i++)
            soften(r, z, part * cut.height + i, piece, number == 0);
        if (has_gradient(r)) pack_both(dx, dx_cut, all, tile, z.packed_logits);
      }
      break;
    case kProducts:
      columns_of(dx, [&](int64_t column, float* place) { multiply(dx, dx_cut, all, number == 0, column, z.packed_logits, place); });
      break;
    default: {
      const Range rows = part(h.count, chunk, chunks);
      for (int64_t i = rows.begin; i < rows.end; i++) finish(r, z, i);
    }
  }
  return kOk;
}

}  // namespace openelm::OPENELM_ISA
