// Training's products: linear with f32 rows (out = x W^T), and its gradients (dx = dout W, dW += dout^T x); the weight of dx may
// also lie in panels, of any type, and is made f32 as it is packed.
// Stage 0 packs the smaller of the two matrices into the scratch, for all chunks; a chunk of stage 1 has rows or columns of the
// larger one, which it packs itself, a block at a time that stays in its second cache. So every element is packed once, or a few
// times where there would be too few chunks. A deep product is made in rounds, which keeps the scratch small enough for the last
// cache. Blocks depend on sizes only.
#include "gemm.h"

namespace openelm::OPENELM_ISA {

namespace {

constexpr int64_t kDepth = 384;              // k in a block, at most
constexpr int64_t kRound = 2048;             // k in a round, at most
constexpr int64_t kColumns = 128;            // columns of a chunk: its block of b is 192 KiB
constexpr int64_t kRows = 10 * kProductRows;    // rows of a chunk that packs them along k
constexpr int64_t kMostRows = 120 / kProductRows * kProductRows;   // of one that packs them across, or that pass together: up to 180 KiB
constexpr int64_t kChunks = 16;              // as many are wanted, unless packing would cost more than it brings

// Rows or columns i of a matrix: element (i, k) lies at i * stride + k if `inner`, else at k * stride + i.
struct Source {
  const float* data;
  int64_t stride;
  bool inner;
  const Weight* weight = nullptr;   // instead of data: row k, input i of panels; k counts from `first`
  int64_t first = 0;
  void skip(int64_t k) {
    if (weight) first += k;
    else data += k * (inner ? 1 : stride);
  }
};

// c [m, n] (+)= a b (+ residual)
struct Product {
  int64_t m, n, k;
  Source a, b;
  TileOut out;
};

// A residual may lie where the product goes.
TileOut added(float* out, int64_t stride, const float* residual) {
  return residual == out ? TileOut{out, stride, nullptr, true} : TileOut{out, stride, residual, false};
}

Product product_of(const Record& r) {   // linear
  using namespace linear_op;
  const int64_t rows = r.ints[i_rows_], inputs = r.ints[i_inputs_], outputs = r.ints[i_outputs_];
  return {rows, outputs, inputs, {floats(r, x_), inputs, true}, {floats(r, weight_), inputs, true},
          added(floats(r, out_), outputs, floats(r, residual_))};
}

Product input_grad_of(const Record& r) {
  using namespace linearInputGrad_op;
  const int64_t rows = r.ints[i_rows_], inputs = r.ints[i_inputs_], outputs = r.ints[i_outputs_];
  return {rows, inputs, outputs, {floats(r, dout_), outputs, true},
          {floats(r, weight_), inputs, false, r.operands[weight_].weight}, added(floats(r, dx_), inputs, floats(r, residual_))};
}

Product weight_grad_of(const Record& r) {
  using namespace linearWeightGrad_op;
  const int64_t rows = r.ints[i_rows_], inputs = r.ints[i_inputs_], outputs = r.ints[i_outputs_];
  return {outputs, inputs, rows, {floats(r, dout_), outputs, false}, {floats(r, x_), inputs, false},
          {floats(r, weightGrad_), inputs, nullptr, true}};
}

// Chunks by rows and by columns, and which matrix they share.
struct Cut {
  bool left;
  int64_t rows, columns;
};
Cut cut_of(const Product& p) {
  const auto even = [](int64_t m, int64_t rows) { return m > rows ? up(m, 2 * rows) * 2 : 1; };   // two threads end together
  Cut cut = {p.m <= p.n, 1, 1};
  if (cut.left) cut.columns = up(p.n, up(p.n, kColumns) < kChunks ? kColumns / 2 : kColumns);
  else cut.rows = even(p.m, kRows);
  // Across k a chunk has a few cache lines of each row, and parts of two more: the wider the better.
  if (!cut.left && !p.a.inner && even(p.m, kMostRows) >= kChunks / 2) cut.rows = even(p.m, kMostRows);
  if (p.m * p.n * p.k < 1 << 22) return cut;
  int64_t& other = cut.left ? cut.rows : cut.columns;
  while (cut.rows * cut.columns < kChunks / 2 && (cut.left ? p.m : p.n) / other >= 2 * kColumns) other *= 2;
  return cut;
}

// A chunk's part of `count` tiles or panels. The larger parts come first: threads that take them in turn end together.
Range larger_first(int64_t count, int64_t chunk, int64_t chunks) {
  const int64_t each = count / chunks, more = count % chunks, begin = chunk * each + smaller(chunk, more);
  return {begin, begin + each + (chunk < more)};
}

int64_t rounds_of(const Product& p) { return larger(up(p.k, kRound), 1); }

size_t scratch_of(Product p) {
  p.k = smaller(p.k, kRound);
  return (size_t)larger(up(p.m, kProductRows) * tile_step(p.k), up(p.n, kProductColumns) * kProductColumns * p.k + kSlack) * sizeof(float);
}

int chunks_of(const Product& p, int stage) {
  if (p.m <= 0 || p.n <= 0 || stage / 2 >= rounds_of(p)) return 0;
  const Cut cut = cut_of(p);
  if (stage % 2 == 0) return (int)clamp((cut.left ? p.m : p.n) * p.k >> 14, 1, 32);
  return (int)(cut.rows * cut.columns);
}

// Rows i of a matrix to tiles or panels of S, `step` floats apart, for these k.
template <int S>
void pack(const Source& from, Range i, Range k, float* out, int64_t step) {
  // Only the right matrix is one.
  if (from.weight) return weight_panels(*from.weight, {from.first + k.begin, from.first + k.end}, i, out, step);
  if (!from.inner) return pack_outer<S>(from.data + k.begin * from.stride + i.begin, from.stride, i.end - i.begin, k.end - k.begin, out, step);
  for (int64_t at = i.begin; at < i.end; at += S, out += step)
    pack_inner<S>(from.data + at * from.stride + k.begin, from.stride, smaller(S, i.end - at), k.end - k.begin, out);
}

// What all chunks share.
template <int S>
void pack_shared(const Source& from, int64_t size, int64_t k, int64_t step, int chunk, int chunks, float* scratch) {
  const Range tiles = part(up(size, S), chunk, chunks);
  if (tiles.begin < tiles.end) pack<S>(from, {tiles.begin * S, smaller(tiles.end * S, size)}, {0, k}, scratch + tiles.begin * step, step);
}

// Rows and columns of the product, from the shared tiles of the left matrix or the shared panels of the right one.
void multiply_chunk(const Product& p, bool left, Range rows, Range columns, const float* shared) {
  alignas(64) float own[kDepth * larger(kColumns, kMostRows) + kMostRows / kProductRows * kSlack];
  const int64_t width = columns.end - columns.begin, blocks = larger(up(p.k, kDepth), 1);
  for (int64_t b = 0; b < blocks; b++) {
    const Range k = part(p.k, b, blocks);
    const int64_t depth = k.end - k.begin;
    if (left) pack<kProductColumns>(p.b, columns, k, own, depth * kProductColumns);
    for (int64_t i = rows.begin; i < rows.end; i += kMostRows) {
      const Range here = {i, smaller(i + kMostRows, rows.end)};
      const int64_t at = i * p.out.stride + columns.begin;
      const TileOut out = {p.out.c + at, p.out.stride, p.out.residual && b == blocks - 1 ? p.out.residual + at : nullptr, p.out.add || b > 0};
      if (left) {
        const int64_t step = tile_step(p.k);
        multiply_packed(here.end - i, width, depth, shared + i / kProductRows * step + k.begin * kProductRows, step, own, depth * kProductColumns, out);
      } else {
        pack<kProductRows>(p.a, here, k, own, tile_step(depth));
        multiply_packed(here.end - i, width, depth, own, tile_step(depth), shared + columns.begin * p.k + k.begin * kProductColumns,
                        p.k * kProductColumns, out);
      }
    }
  }
}

int run_of(Product p, const Record& r, int stage, int chunk, int chunks) {
  const Cut cut = cut_of(p);
  // This round is a product of its own, added to what those before it made.
  const int64_t round = stage / 2, rounds = rounds_of(p);
  const Range k = part(p.k, round, rounds);
  p.a.skip(k.begin);
  p.b.skip(k.begin);
  p.k = k.end - k.begin;
  if (round > 0) p.out.add = true;
  if (round < rounds - 1) p.out.residual = nullptr;
  if (stage % 2 == 0) {
    if (cut.left) pack_shared<kProductRows>(p.a, p.m, p.k, tile_step(p.k), chunk, chunks, (float*)r.scratch);
    else pack_shared<kProductColumns>(p.b, p.n, p.k, p.k * kProductColumns, chunk, chunks, (float*)r.scratch);
    return kOk;
  }
  const Range tiles = larger_first(up(p.m, kProductRows), chunk % cut.rows, cut.rows);
  const Range panels = larger_first(up(p.n, kProductColumns), chunk / cut.rows, cut.columns);
  const Range rows = {tiles.begin * kProductRows, smaller(tiles.end * kProductRows, p.m)};
  const Range columns = {panels.begin * kProductColumns, smaller(panels.end * kProductColumns, p.n)};
  if (rows.begin < rows.end && columns.begin < columns.end) multiply_chunk(p, cut.left, rows, columns, (float*)r.scratch);
  return kOk;
}

}  // namespace

size_t gemm_scratch(const Record& r) { return scratch_of(product_of(r)); }
int gemm_repeats(const Record& r) { return (int)rounds_of(product_of(r)); }
int gemm_chunks(const Record& r, int stage) { return chunks_of(product_of(r), stage); }
int gemm_run(const Record& r, int stage, int chunk, int chunks) { return run_of(product_of(r), r, stage, chunk, chunks); }

// Many rows through frozen f32 weights are another product. It has as many rounds, and a run with fewer rows may be this one.
size_t input_grad_scratch(const Record& r) {
  const size_t bytes = scratch_of(input_grad_of(r)), more = strassen_grad_fits(r) ? strassen_grad_scratch(r) : 0;
  return bytes > more ? bytes : more;
}
int input_grad_repeats(const Record& r) { return strassen_grad_fits(r) ? strassen_grad_repeats(r) : (int)rounds_of(input_grad_of(r)); }
int input_grad_chunks(const Record& r, int stage) {
  return strassen_grad_fits(r) ? strassen_grad_chunks(r, stage) : chunks_of(input_grad_of(r), stage);
}
int input_grad_run(const Record& r, int stage, int chunk, int chunks) {
  return strassen_grad_fits(r) ? strassen_grad_run(r, stage, chunk, chunks) : run_of(input_grad_of(r), r, stage, chunk, chunks);
}

size_t weight_grad_scratch(const Record& r) { return scratch_of(weight_grad_of(r)); }
int weight_grad_repeats(const Record& r) { return (int)rounds_of(weight_grad_of(r)); }
int weight_grad_chunks(const Record& r, int stage) { return chunks_of(weight_grad_of(r), stage); }
int weight_grad_run(const Record& r, int stage, int chunk, int chunks) { return run_of(weight_grad_of(r), r, stage, chunk, chunks); }

}  // namespace openelm::OPENELM_ISA
