// Training's products with frozen f32 weights, by Strassen's algorithm (1969), one level of it: the matrices are cut in halves, and
// seven products of sums of quarters make what eight products of quarters would. Sums are made as the quarters are packed, and a
// product is added where it belongs as it leaves the registers (Huang et al., SC16). linear: out = x W^T; linearInputGrad:
// dx = dout W. Only for many rows: what inference computes does not depend on how many rows go together. Rows of x are scaled by
// powers of two to be of one size, so that a row's error is of its own size, as in ordinary products.
// Stage 0 packs the sums of x for all chunks; a chunk of stage 1 has columns of the result. Deep products go in rounds, as in gemm.cc.
#include "gemm.h"

namespace openelm::OPENELM_ISA {

namespace {

constexpr int kProducts = 7;
constexpr int64_t kWidth = 32;       // columns of a quarter of a chunk
constexpr int64_t kRound = 2048;     // k in a round, at most
constexpr int64_t kTurning = 24;     // chunks that turn quarters of b, at most: each has its place in the scratch
constexpr int64_t kLeastRows = 384, kLeastDepth = 512;

// The sum of one quarter and, if it has a sign, another; of the result, the two that a product goes to.
struct Quarters {
  struct { int row, column; } one, other;
  int sign;
};
struct Step {
  Quarters a, b, c;
};
constexpr Step kSteps[kProducts] = {
    {{{0, 0}, {1, 1}, 1}, {{0, 0}, {1, 1}, 1}, {{0, 0}, {1, 1}, 1}},
    {{{1, 0}, {1, 1}, 1}, {{0, 0}, {0, 0}, 0}, {{1, 0}, {1, 1}, -1}},
    {{{0, 0}, {0, 0}, 0}, {{0, 1}, {1, 1}, -1}, {{0, 1}, {1, 1}, 1}},
    {{{1, 1}, {0, 0}, 0}, {{1, 0}, {0, 0}, -1}, {{0, 0}, {1, 0}, 1}},
    {{{0, 0}, {0, 1}, 1}, {{1, 1}, {0, 0}, 0}, {{0, 1}, {0, 0}, -1}},
    {{{1, 0}, {0, 0}, -1}, {{0, 0}, {0, 1}, 1}, {{1, 1}, {0, 0}, 0}},
    {{{0, 1}, {1, 1}, -1}, {{1, 0}, {1, 1}, 1}, {{0, 0}, {0, 0}, 0}},
};

// c [rows, columns] = x [rows, k] b (+ residual); b is the weight, turned if it goes forward.
struct Product {
  int64_t rows, k, columns;
  const float* x;
  const Weight* weight;
  bool forward;
  float* c;
  const float* residual;
};

Product linear_product(const Record& r) {
  using namespace linear_op;
  return {r.ints[i_rows_], r.ints[i_inputs_], r.ints[i_outputs_], floats(r, x_), r.operands[weight_].weight, true, floats(r, out_), floats(r, residual_)};
}
Product input_grad_product(const Record& r) {
  using namespace linearInputGrad_op;
  return {r.ints[i_rows_], r.ints[i_outputs_], r.ints[i_inputs_], floats(r, dout_), r.operands[weight_].weight, false, floats(r, dx_), floats(r, residual_)};
}

bool fits(const Product& p) {
  return p.rows >= kLeastRows && p.weight && p.weight->dtype == kF32 && p.k >= kLeastDepth && p.k % (2 * kPanel) == 0 && p.columns % (2 * kWidth) == 0;
}

int64_t rounds_of(const Product& p) { return up(p.k, kRound); }
// Of whole panels in both halves.
Range round_of(const Product& p, int64_t round) {
  const Range pairs = part(p.k / (2 * kPanel), round, rounds_of(p));
  return {pairs.begin * 2 * kPanel, pairs.end * 2 * kPanel};
}

int64_t half_rows(const Product& p) { return up(p.rows, 2); }
int64_t tiles_of(const Product& p) { return up(half_rows(p), kProductRows); }

// The scratch: of each row 1 / its scale, the packed sums [kProducts][tiles], and of each chunk that turns them b's quarters.
int64_t sums_at(const Product& p) { return up(2 * tiles_of(p) * kProductRows, kPanel) * kPanel; }

// A power of two that takes `x` to about 1, by the bits of its inverse.
INLINE float scale_of(uint32_t inverse) { return float_of((254u << 23) - inverse); }
uint32_t inverse_of(const float* x, int64_t count) {
  vf most = {};
  for (int64_t i = 0; i < count; i += W) most = vmax(vabs(load(x + i)), most);
  return (uint32_t)clamp(bits_of(largest(most)) >> 23, 1, 253) << 23;
}

// Rows as packing reads them: scaled, and those of another quarter added.
struct Scaled {
  const float* scales;
  vf vector(const float* p, int64_t row) const __attribute__((always_inline)) { return load(p) * scales[row]; }
  float element(const float* p, int64_t row) const { return *p * scales[row]; }
};
struct Sum {
  const float *scales, *other_scales;   // of the other rows with their sign
  int64_t other;
  vf vector(const float* p, int64_t row) const __attribute__((always_inline)) { return fma(load(p + other), splat(other_scales[row]), load(p) * scales[row]); }
  float element(const float* p, int64_t row) const { return p[other] * other_scales[row] + *p * scales[row]; }
};

// A tile of the rows of all sums.
void pack_tile(const Product& p, Range k, int64_t tile, float* scratch) {
  const int64_t half = half_rows(p), depth = (k.end - k.begin) / 2, first = tile * kProductRows, tiles = tiles_of(p);
  const int64_t counts[2] = {smaller(kProductRows, half - first), smaller(kProductRows, p.rows - half - first)};
  float scales[2][kProductRows];
  for (int row = 0; row < 2; row++)
    for (int64_t i = 0; i < counts[row]; i++) {
      const uint32_t inverse = inverse_of(p.x + (row * half + first + i) * p.k + k.begin, k.end - k.begin);
      scales[row][i] = scale_of(inverse);
      scratch[(row * tiles + tile) * kProductRows + i] = float_of(inverse);
    }
  for (int s = 0; s < kProducts; s++) {
    const Quarters& q = kSteps[s].a;
    const auto place = [&](int row, int column) { return p.x + (row * half + first) * p.k + k.begin + column * depth; };
    const float *one = place(q.one.row, q.one.column), *other = place(q.other.row, q.other.column), *own = scales[q.one.row];
    float* out = scratch + sums_at(p) + (s * tiles + tile) * tile_step(depth);
    const int64_t n = counts[q.one.row];
    if (!q.sign) {
      pack_inner<kProductRows>(one, p.k, n, depth, out, Scaled{own});
      continue;
    }
    float signed_scales[kProductRows];
    for (int64_t i = 0; i < counts[q.other.row]; i++) signed_scales[i] = (float)q.sign * scales[q.other.row][i];
    const int64_t both = smaller(n, counts[q.other.row]);
    pack_inner<kProductRows>(one, p.k, both, depth, out, Sum{own, signed_scales, other - one});
    // With an odd number of rows the lower half has one row less.
    for (int64_t lane = both; lane < larger(n, counts[q.other.row]); lane++)
      for (int64_t i = 0; i < depth; i++)
        out[i * kProductRows + lane] = lane < n ? one[lane * p.k + i] * own[lane] : other[lane * p.k + i] * signed_scales[lane];
  }
}

// A block of a quarter, these k and kWidth columns from `column` on, in panels [kWidth / kProductColumns][k][kProductColumns].
void turn_block(const Product& p, const float* quarter, int64_t depth, float* out) {
  for (int64_t k = 0; k < depth; k += kPanel)
    for (int64_t i = 0; i < kWidth; i += kProductColumns)
      pack_inner<kProductColumns>(quarter + (k / kPanel * p.columns + i) * kPanel, kPanel, kProductColumns, kPanel, out + i * depth + k * kProductColumns);
}

// out = one (+ sign * other) of panels of the weight, [kWidth / kPanel][k][kPanel], that lie `apart`; in panels as above.
void add_panels(const float* one, const float* other, int sign, int64_t apart, int64_t depth, float* out) {
  const vf s = splat((float)sign);
  for (int64_t i = 0; i < kWidth; i += W) {
    const int64_t at = i / kPanel * apart + i % kPanel;
    float* to = out + i / kProductColumns * depth * kProductColumns + i % kProductColumns;
    if (!sign) for (int64_t j = 0; j < depth; j++) store(to + j * kProductColumns, load(one + at + j * kPanel));
    else for (int64_t j = 0; j < depth; j++) store(to + j * kProductColumns, fma(load(other + at + j * kPanel), s, load(one + at + j * kPanel)));
  }
}
void add_blocks(const float* one, const float* other, int sign, int64_t count, float* out) {
  const vf s = splat((float)sign);
  for (int64_t i = 0; i < count; i += W) store(out + i, fma(load(other + i), s, load(one + i)));
}

// Where a product of a tile goes: c = (from ? from : 0) + sign * product / scale of its row, of `rows` rows.
struct Place {
  float* c;
  const float* from;
  float sign;
  const float* inverses;
  int64_t rows;
};

template <int R>
NOINLINE void product_to(int64_t k, const float* __restrict a, const float* __restrict b, int64_t stride, const Place* places, int count) {
  constexpr int C = kProductColumns / W;
  constexpr int kAhead = 16;
  for (int p = 0; p < count; p++) {
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < kProductColumns; j += kPanel) __builtin_prefetch(places[p].c + r * stride + j, 1);
    }
  }
  vf acc[R][C];
  UNROLL
  for (int r = 0; r < R; r++) {
    UNROLL
    for (int j = 0; j < C; j++) acc[r][j] = (vf){};
  }
#pragma GCC unroll 2
  for (int64_t i = 0; i < k; i++, a += kProductRows, b += kProductColumns) {
    __builtin_prefetch(a + kAhead * kProductRows);
    vf w[C];
    UNROLL
    for (int j = 0; j < C; j++) w[j] = load(b + j * W);
    UNROLL
    for (int r = 0; r < R; r++) {
      vf x = splat(a[r]);
      UNROLL
      for (int j = 0; j < C; j++) acc[r][j] = fma(x, w[j], acc[r][j]);
    }
  }
  for (int p = 0; p < count; p++) {
    const Place& place = places[p];
    UNROLL
    for (int r = 0; r < R; r++) {
      if (r >= place.rows) break;
      const vf scale = splat(place.sign * place.inverses[r]);
      UNROLL
      for (int j = 0; j < C; j++) {
        const int64_t at = r * stride + j * W;
        store(place.c + at, fma(acc[r][j], scale, place.from ? load(place.from + at) : (vf){}));
      }
    }
  }
}

template <int R>
INLINE void products_to(int64_t& row, int64_t rows, int64_t k, const float* a, const float* b, int64_t stride, const Place* places, int count) {
  for (; row + R <= rows; row += R) {
    Place here[2];
    for (int i = 0; i < count; i++) {
      const Place& p = places[i];
      here[i] = {p.c + row * stride, p.from ? p.from + row * stride : nullptr, p.sign, p.inverses + row, p.rows - row};
    }
    product_to<R>(k, a + row, b, stride, here, count);
  }
}

// Where quarters lie in the weight, in runs of whole lines.
struct Block {
  const float* quarters[2][2];
  int64_t run, stride, lines;   // a run's lines; floats from run to run; lines of a quarter
};
Block block_of(const Product& p, Range k, int64_t column) {
  Block b;
  const int64_t depth = (k.end - k.begin) / 2;
  for (int row = 0; row < 2; row++)
    for (int right = 0; right < 2; right++) {
      const int64_t from = k.begin + row * depth, at = column + right * kWidth;
      b.quarters[row][right] = (const float*)p.weight->data + (p.forward ? at / kPanel * p.k + from : from / kPanel * p.columns + at) * kPanel;
    }
  b.run = p.forward ? depth : kWidth;
  b.stride = (p.forward ? p.k : p.columns) * kPanel;
  b.lines = kWidth * depth / kPanel;
  return b;
}
void fetch(const Block& b, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i++) {
    const int64_t q = i / b.lines, line = i % b.lines;
    __builtin_prefetch(b.quarters[q / 2][q % 2] + line / b.run * b.stride + line % b.run * kPanel, 0, 2);
  }
}

// The k of a round times a pair of columns; meanwhile the next pair's weights are fetched.
void multiply(const Product& p, Range k, bool first, int64_t column, float* scratch, float* turned) {
  alignas(64) float sum[kRound / 2 * kWidth];
  const int64_t half = half_rows(p), depth = (k.end - k.begin) / 2, tiles = tiles_of(p), step = tile_step(depth), after = column + 2 * kWidth;
  Block block = block_of(p, k, column), next = block_of(p, k, after);
  if (after == p.columns) next.lines = 0;
  if (!p.forward) {
    for (int q = 0; q < 4; q++, turned += depth * kWidth + kSlack) {
      turn_block(p, block.quarters[q / 2][q % 2], depth, turned);
      block.quarters[q / 2][q % 2] = turned;
    }
  }
  int64_t tile = 0;
  const int64_t all = kProducts * tiles * (kWidth / kProductColumns);
  bool made[2][2] = {};
  for (int s = 0; s < kProducts; s++) {
    const Quarters &qb = kSteps[s].b, &qc = kSteps[s].c;
    const float *one = block.quarters[qb.one.row][qb.one.column], *other = block.quarters[qb.other.row][qb.other.column], *b = sum;
    if (p.forward) add_panels(one, other, qb.sign, p.k * kPanel, depth, sum);
    else if (qb.sign) add_blocks(one, other, qb.sign, depth * kWidth, sum);
    else b = one;
    for (int64_t at = 0; at < kWidth / kProductColumns * tiles; at++) {
      const int64_t j = at / tiles * kProductColumns, t = at % tiles;
      fetch(next, 4 * next.lines * tile / all, 4 * next.lines * (tile + 1) / all);
      tile++;
      const int64_t row = t * kProductRows, rows = smaller(kProductRows, half - row);
      Place places[2];
      const auto place = [&](int i, int down, int right, int sign) {
        const int64_t at = (down * half + row) * p.columns + column + right * kWidth + j;
        const float* before = made[down][right] || !first ? p.c : p.residual;
        places[i] = {p.c + at, before ? before + at : nullptr, (float)sign, scratch + (down * tiles + t) * kProductRows, (down ? p.rows - half : half) - row};
      };
      place(0, qc.one.row, qc.one.column, 1);
      if (qc.sign) place(1, qc.other.row, qc.other.column, qc.sign);
      const float *a = scratch + sums_at(p) + (s * tiles + t) * step, *panel = b + j * depth;
      const int n = qc.sign ? 2 : 1;
      int64_t done = 0;
      products_to<kProductRows>(done, rows, depth, a, panel, p.columns, places, n);
      if (kProductRows > 8) products_to<8>(done, rows, depth, a, panel, p.columns, places, n);
      if (kProductRows > 4) products_to<4>(done, rows, depth, a, panel, p.columns, places, n);
      if (kProductRows > 2) products_to<2>(done, rows, depth, a, panel, p.columns, places, n);
      products_to<1>(done, rows, depth, a, panel, p.columns, places, n);
    }
    made[qc.one.row][qc.one.column] = true;
    if (qc.sign) made[qc.other.row][qc.other.column] = true;
  }
}

// Half of the k of a round, at most.
int64_t half_depth(const Product& p) { return up(p.k / (2 * kPanel), rounds_of(p)) * kPanel; }
int64_t turned_at(const Product& p) { return sums_at(p) + kProducts * tiles_of(p) * tile_step(half_depth(p)); }
int64_t turned_size(const Product& p) { return 4 * (half_depth(p) * kWidth + kSlack); }

// Pairs of kWidth columns, and how many of them a chunk has.
int64_t pairs_of(const Product& p) { return p.columns / (2 * kWidth); }
int64_t pairs_each(const Product& p) { return p.forward ? 1 : up(pairs_of(p), kTurning); }

size_t scratch_of(const Product& p) {
  return (size_t)(turned_at(p) + (p.forward ? 0 : up(pairs_of(p), pairs_each(p)) * turned_size(p))) * sizeof(float);
}

int chunks_of(const Product& p, int stage) {
  if (stage / 2 >= rounds_of(p)) return 0;
  return (int)(stage % 2 ? up(pairs_of(p), pairs_each(p)) : tiles_of(p));
}

int run_of(const Product& p, const Record& r, int stage, int chunk) {
  const Range k = round_of(p, stage / 2);
  float* scratch = (float*)r.scratch;
  if (stage % 2 == 0) pack_tile(p, k, chunk, scratch);
  else
    for (int64_t i = chunk * pairs_each(p), end = smaller(i + pairs_each(p), pairs_of(p)); i < end; i++)
      multiply(p, k, stage < 2, i * 2 * kWidth, scratch, scratch + turned_at(p) + chunk * turned_size(p));
  return kOk;
}

}  // namespace

bool strassen_fits(const Record& r) { return fits(linear_product(r)); }
size_t strassen_scratch(const Record& r) { return scratch_of(linear_product(r)); }
int strassen_repeats(const Record& r) { return (int)rounds_of(linear_product(r)); }
int strassen_chunks(const Record& r, int stage) { return chunks_of(linear_product(r), stage); }
int strassen_run(const Record& r, int stage, int chunk, int) { return run_of(linear_product(r), r, stage, chunk); }

bool strassen_grad_fits(const Record& r) { return fits(input_grad_product(r)); }
size_t strassen_grad_scratch(const Record& r) { return scratch_of(input_grad_product(r)); }
int strassen_grad_repeats(const Record& r) { return (int)rounds_of(input_grad_product(r)); }
int strassen_grad_chunks(const Record& r, int stage) { return chunks_of(input_grad_product(r), stage); }
int strassen_grad_run(const Record& r, int stage, int chunk, int) { return run_of(input_grad_product(r), r, stage, chunk); }

}  // namespace openelm::OPENELM_ISA
