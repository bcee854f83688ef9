// Training's products with f32 matrices stored by rows: linear (out = x W^T), and its gradients (dx = dout W, dW += dout^T x).
// Stage 0 packs the left matrix, which all column chunks share, into the scratch; a chunk of stage 1 packs its own columns of the
// right one, a block of kDepth at a time, so that every element is packed once or a few times. Blocks depend on sizes only.
#include "gemm.h"

namespace openelm::OPENELM_ISA {

namespace {

constexpr int64_t kDepth = 384;                   // k in a block
constexpr int64_t kColumns = 128;                 // columns of a chunk: its block of b is 192 KiB
constexpr int64_t kRows = 10 * kTileRows;         // rows whose block of a stays in the second cache while the columns pass
constexpr int64_t kMostRows = 8 * kRows;          // of a chunk: c stays in a cache through all blocks of k
constexpr int64_t kChunks = 16;                   // as many are wanted, as long as they are not too small to be worth their packing

// Rows or columns i of a matrix: element (i, k) lies at i * stride + k if `inner`, else at k * stride + i.
struct Source {
  const float* data;
  int64_t stride;
  bool inner;
};

// c [m, n] (+)= a b (+ residual)
struct Product {
  int64_t m, n, k;
  Source a, b;
  TileOut out;
};

Product product_of(const Record& r) {   // linear
  using namespace linear_op;
  const int64_t rows = r.ints[i_rows_], inputs = r.ints[i_inputs_], outputs = r.ints[i_outputs_];
  return {rows, outputs, inputs, {floats(r, x_), inputs, true}, {floats(r, weight_), inputs, true},
          {floats(r, out_), outputs, floats(r, residual_), false}};
}

Product input_grad_of(const Record& r) {
  using namespace linearInputGrad_op;
  const int64_t rows = r.ints[i_rows_], inputs = r.ints[i_inputs_], outputs = r.ints[i_outputs_];
  return {rows, inputs, outputs, {floats(r, dout_), outputs, true}, {floats(r, weight_), inputs, false},
          {floats(r, dx_), inputs, floats(r, residual_), false}};
}

Product weight_grad_of(const Record& r) {
  using namespace linearWeightGrad_op;
  const int64_t rows = r.ints[i_rows_], inputs = r.ints[i_inputs_], outputs = r.ints[i_outputs_];
  return {outputs, inputs, rows, {floats(r, dout_), outputs, false}, {floats(r, x_), inputs, false},
          {floats(r, weightGrad_), inputs, nullptr, true}};
}

struct Cut { int64_t rows, columns; };
Cut cut_of(const Product& p) {
  Cut cut = {larger(up(p.m, kMostRows), 1), larger(up(p.n, kColumns), 1)};
  if (p.m * p.n * p.k >= 1 << 22)
    while (cut.rows * cut.columns < kChunks && p.m / cut.rows >= 2 * kRows) cut.rows *= 2;
  return cut;
}

size_t scratch_of(const Product& p) { return (size_t)(up(p.m, kTileRows) * tile_step(p.k)) * sizeof(float); }

int chunks_of(const Product& p, int stage) {
  if (p.m <= 0 || p.n <= 0) return 0;
  if (stage == 0) return (int)clamp(p.m * p.k >> 14, 1, smaller(32, up(p.m, 8 * kTileRows)));
  const Cut cut = cut_of(p);
  return (int)(cut.rows * cut.columns);
}

void pack_left(const Product& p, Range tiles, float* scratch) {
  const int64_t step = tile_step(p.k), i0 = tiles.begin * kTileRows, i1 = smaller(tiles.end * kTileRows, p.m);
  if (!p.a.inner) {
    // A few tiles side by side: whole lines are read, and they are still in a cache for the next ones.
    for (int64_t i = i0; i < i1; i += 8 * kTileRows)
      pack_outer<kTileRows>(p.a.data + i, p.a.stride, smaller(8 * kTileRows, i1 - i), p.k, scratch + i / kTileRows * step, step);
    return;
  }
  for (int64_t i = i0; i < i1; i += kTileRows)
    pack_inner<kTileRows>(p.a.data + i * p.a.stride, p.a.stride, smaller(kTileRows, i1 - i), p.k, scratch + i / kTileRows * step);
}

void multiply_chunk(const Product& p, Range rows, Range columns, const float* scratch) {
  alignas(64) float block[kDepth * kColumns + kSlack];
  const int64_t step = tile_step(p.k), width = columns.end - columns.begin, blocks = larger(up(p.k, kDepth), 1);
  for (int64_t b = 0; b < blocks; b++) {
    const Range k = part(p.k, b, blocks);
    const int64_t depth = k.end - k.begin;
    if (p.b.inner)
      for (int64_t j = 0; j < width; j += kTileColumns)
        pack_inner<kTileColumns>(p.b.data + (columns.begin + j) * p.b.stride + k.begin, p.b.stride, smaller(kTileColumns, width - j),
                                 depth, block + j * depth);
    else
      pack_outer<kTileColumns>(p.b.data + k.begin * p.b.stride + columns.begin, p.b.stride, width, depth, block, depth * kTileColumns);
    const bool last = b == blocks - 1;
    for (int64_t i = rows.begin; i < rows.end; i += kRows) {
      const int64_t at = i * p.out.stride + columns.begin;
      multiply_packed(smaller(kRows, rows.end - i), width, depth, scratch + i / kTileRows * step + k.begin * kTileRows, step, block,
                      depth * kTileColumns,
                      {p.out.c + at, p.out.stride, last && p.out.residual ? p.out.residual + at : nullptr, p.out.add || b > 0});
    }
  }
}

int run_of(const Product& p, const Record& r, int stage, int chunk, int chunks) {
  float* scratch = (float*)r.scratch;
  if (stage == 0) {
    const int64_t tiles = up(p.m, kTileRows), unit = p.a.inner ? 1 : 8;
    const Range units = part(up(tiles, unit), chunk, chunks);
    pack_left(p, {units.begin * unit, smaller(units.end * unit, tiles)}, scratch);
    return kOk;
  }
  const Cut cut = cut_of(p);
  // Neighbouring chunks share the columns.
  const Range tiles = part(up(p.m, kTileRows), chunk % cut.rows, cut.rows);
  const Range panels = part(up(p.n, kTileColumns), chunk / cut.rows, cut.columns);
  const Range rows = {tiles.begin * kTileRows, smaller(tiles.end * kTileRows, p.m)};
  const Range columns = {panels.begin * kTileColumns, smaller(panels.end * kTileColumns, p.n)};
  if (rows.begin < rows.end && columns.begin < columns.end) multiply_chunk(p, rows, columns, scratch);
  return kOk;
}

}  // namespace

size_t gemm_scratch(const Record& r) { return scratch_of(product_of(r)); }
int gemm_chunks(const Record& r, int stage) { return chunks_of(product_of(r), stage); }
int gemm_run(const Record& r, int stage, int chunk, int chunks) { return run_of(product_of(r), r, stage, chunk, chunks); }

size_t input_grad_scratch(const Record& r) { return scratch_of(input_grad_of(r)); }
int input_grad_chunks(const Record& r, int stage) { return chunks_of(input_grad_of(r), stage); }
int input_grad_run(const Record& r, int stage, int chunk, int chunks) { return run_of(input_grad_of(r), r, stage, chunk, chunks); }

size_t weight_grad_scratch(const Record& r) { return scratch_of(weight_grad_of(r)); }
int weight_grad_chunks(const Record& r, int stage) { return chunks_of(weight_grad_of(r), stage); }
int weight_grad_run(const Record& r, int stage, int chunk, int chunks) { return run_of(weight_grad_of(r), r, stage, chunk, chunks); }

}  // namespace openelm::OPENELM_ISA
