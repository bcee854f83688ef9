// Training's products with frozen weights, made f32 where they are not, with fewer multiplications (Strassen 1969): the matrices are cut in halves, and seven
// products of sums of quarters make what eight products of quarters would; two levels of it, 49 for 64, where there are many rows.
// It is Winograd's form in a basis of its own (Karstadt and Schwartz 2017), in which most sums have one term. Sums are made as blocks are
// packed, and a product is added where it belongs as it leaves the registers (Huang et al., SC16). linear: out = x W^T; linearInputGrad:
// dx = dout W. Only for many rows: what inference computes does not depend on how many rows go together. Rows of x are scaled by
// powers of two to be of one size, so that a row's error is of its own size, as in ordinary products.
// Stage 0 packs the sums of x for all chunks; a chunk of stage 1 has columns of the result. Both are repeated for rounds of k, as in
// gemm.cc, and for groups of rows.
#include "strassen.h"

namespace openelm::OPENELM_ISA {

using namespace strassen;

namespace {

constexpr int64_t kSlice = 32;        // k that are packed together

// Of quarters in their bases.
constexpr Step kQuarters[7] = {
    {{{{0, 0, 1}}, 1}, {{{0, 0, 1}}, 1}, {{{0, 0, 1}, {0, 1, 1}}, 2}},
    {{{{0, 1, 1}}, 1}, {{{1, 0, 1}}, 1}, {{{0, 0, 1}}, 1}},
    {{{{0, 1, 1}, {1, 1, -1}}, 2}, {{{1, 1, 1}, {0, 1, 1}}, 2}, {{{0, 1, 1}, {1, 0, -1}}, 2}},
    {{{{1, 1, 1}, {1, 0, 1}}, 2}, {{{1, 1, 1}, {1, 0, -1}}, 2}, {{{0, 1, -1}, {1, 1, 1}}, 2}},
    {{{{0, 0, 1}, {1, 1, 1}}, 2}, {{{0, 1, 1}}, 1}, {{{1, 1, 1}}, 1}},
    {{{{1, 1, 1}}, 1}, {{{1, 1, 1}}, 1}, {{{0, 1, 1}}, 1}},
    {{{{1, 0, 1}}, 1}, {{{1, 1, 1}, {0, 0, -1}}, 2}, {{{1, 0, 1}}, 1}},
};
// To the bases of a and b, and from that of c: by quarters, and by quarters of these.
struct BaseA {
  static void change(vf& a, vf&, vf& c, vf& d) { c = a - c; d -= c; }
};
struct BaseB {
  static void change(vf& a, vf& b, vf&, vf& d) { b -= a; d -= b; }
};
struct BaseC {
  static void change(vf&, vf& b, vf& c, vf& d) {
    const vf x = b, z = c;
    c = x + z;
    b = x + d;
    d = b + z;
  }
};
template <class Base, int G>
INLINE void change(vf (&v)[G][G]) {
  UNROLL
  for (int half = G / 2; half > 0; half /= 2) {
    UNROLL
    for (int i = 0; i < G; i++) {
      UNROLL
      for (int j = 0; j < G; j++)
        if (!(i & half) && !(j & half)) Base::change(v[i][j], v[i][j + half], v[i + half][j], v[i + half][j + half]);
    }
  }
}
// Blocks, `apart` from each other, whole vectors of them.
template <class Base, int G>
NOINLINE void change_blocks(float* blocks, int64_t apart, int64_t count) {
  for (int64_t i = 0; i < count; i += W) {
    vf v[G][G];
    UNROLL
    for (int b = 0; b < G * G; b++) v[b / G][b % G] = load(blocks + b * apart + i);
    change<Base>(v);
    UNROLL
    for (int b = 1; b < G * G; b++) store(blocks + b * apart + i, v[b / G][b % G]);
  }
}
template <class Base>
void change_blocks(int64_t grid, float* blocks, int64_t apart, int64_t count) {
  if (grid == 4) change_blocks<Base, 4>(blocks, apart, count);
  else if (grid == 2) change_blocks<Base, 2>(blocks, apart, count);
}

// Each quarter cut again.
constexpr Sum within(const Sum& outer, const Sum& inner) {
  Sum all = {};
  for (int i = 0; i < outer.count; i++)
    for (int j = 0; j < inner.count; j++) {
      const auto &o = outer.terms[i], &n = inner.terms[j];
      all.terms[all.count++] = {2 * o.row + n.row, 2 * o.column + n.column, o.sign * n.sign};
    }
  return all;
}
struct Sixteenths {
  Step steps[49];
  constexpr Sixteenths() : steps() {
    for (int i = 0; i < 49; i++) {
      const Step &o = kQuarters[i / 7], &n = kQuarters[i % 7];
      steps[i] = {within(o.a, n.a), within(o.b, n.b), within(o.c, n.c)};
    }
  }
};
constexpr Sixteenths kSixteenths;

// An ordinary product.
constexpr Step kWhole[1] = {{{{{0, 0, 1}}, 1}, {{{0, 0, 1}}, 1}, {{{0, 0, 1}}, 1}}};

Product linear_product(const Record& r) {
  using namespace linear_op;
  const Weight* weight = r.ints[i_int8_] && r.operands[weight_].weight && quantized(r.operands[weight_].weight->dtype) ? nullptr : r.operands[weight_].weight;
  const int64_t inputs = r.ints[i_inputs_], outputs = r.ints[i_outputs_];
  return {r.ints[i_rows_], inputs, outputs, floats(r, x_), weight, true, floats(r, out_), floats(r, residual_), inputs, outputs, 0, 0};
}
Product input_grad_product(const Record& r) {
  using namespace linearInputGrad_op;
  const int64_t inputs = r.ints[i_inputs_], outputs = r.ints[i_outputs_];
  return {r.ints[i_rows_], outputs, inputs, floats(r, dout_), r.operands[weight_].weight, false, floats(r, dx_), floats(r, residual_), outputs, inputs, 0, 0};
}

// Two levels?
bool nests(const Product& p) { return may_nest(p.k, p.columns) && p.rows / up(p.rows, kMostRows) >= kTwoLevelRows; }
int64_t groups_of(const Product& p) { return up(p.rows, nests(p) ? kMostRows : 2 * kMostRows); }
Range group_of(const Product& p, int64_t group) { return part(p.rows, group, groups_of(p)); }
Cut cut_of(const Product& p, int64_t rows) { return strassen::cut_of(p, rows, nests(p) ? 4 : 2); }
int64_t chunks_of(const Product& p, const Cut& z) { return smaller(p.columns / (z.grid * kWidth), kPlaces); }

// Blocks of b lie apart so that they do not meet in the first cache.
INLINE int64_t block_step(int64_t depth) { return depth * kWidth + kSlack; }

// A power of two that takes `x` to about 1, by the bits of its inverse.
INLINE float scale_of(uint32_t inverse) { return float_of((254u << 23) - inverse); }
uint32_t inverse_of(const float* x, int64_t count) {
  vf most = {};
  for (int64_t i = 0; i < count; i += W) most = vmax(vabs(load(x + i)), most);
  return (uint32_t)clamp(bits_of(largest(most)) >> 23, 1, 253) << 23;
}

// Rows as packing reads them: scaled.
struct Scaled {
  const float* scales;
  vf vector(const float* p, int64_t row) const __attribute__((always_inline)) { return load(p) * scales[row]; }
  float element(const float* p, int64_t row) const { return *p * scales[row]; }
};

// out = a sum of blocks that lie `apart`, for whole vectors. What is written next is fetched, `ahead` of out.
template <int N>
NOINLINE void add_blocks(const Sum& sum, int64_t grid, const float* blocks, int64_t apart, int64_t count, float* out, int64_t ahead) {
  const float* from[N];
  vf signs[N];
  UNROLL
  for (int t = 0; t < N; t++) {
    from[t] = blocks + (sum.terms[t].row * grid + sum.terms[t].column) * apart;
    signs[t] = splat((float)sum.terms[t].sign);
  }
  for (int64_t i = 0; i < count; i += W) {
    __builtin_prefetch(out + ahead + i, 1);
    vf v = load(from[0] + i) * signs[0];
    UNROLL
    for (int t = 1; t < N; t++) v = fma(load(from[t] + i), signs[t], v);
    store(out + i, v);
  }
}
void add_blocks(const Sum& sum, int64_t grid, const float* blocks, int64_t apart, int64_t count, float* out, int64_t ahead = 0) {
  if (sum.count == 1) add_blocks<1>(sum, grid, blocks, apart, count, out, ahead);
  else if (sum.count == 2) add_blocks<2>(sum, grid, blocks, apart, count, out, ahead);
  else add_blocks<4>(sum, grid, blocks, apart, count, out, ahead);
}

}  // namespace

void strassen::pack_tile(const Product& p, const Cut& z, Range k, int64_t tile, int64_t half, float* packed) {
  constexpr int64_t kBlock = up(kSlice * kProductRows + kSlack, kPanel) * kPanel;
  alignas(64) float blocks[16 * kBlock];
  float scales[4][kProductRows];
  int64_t counts[4];
  const int64_t first = tile * kProductRows, depth = (k.end - k.begin) / z.grid, step = tile_step(depth);
  for (int64_t row = 0; row < z.grid; row++) {
    counts[row] = clamp(smaller(z.height, z.rows - row * z.height) - first, 0, kProductRows);
    for (int64_t i = 0; i < counts[row]; i++) {
      const uint32_t inverse = inverse_of(p.x + (row * z.height + first + i) * p.x_step + k.begin, k.end - k.begin);
      scales[row][i] = scale_of(inverse);
      if (half == 0) packed[(row * z.tiles + tile) * kProductRows + i] = float_of(inverse);
    }
  }
  float* sums = packed + z.sums + tile * step;
  const Range slices = part(up(depth, kSlice), half, 2);
  for (int64_t i = slices.begin * kSlice; i < smaller(slices.end * kSlice, depth); i += kSlice) {
    const int64_t count = smaller(kSlice, depth - i);
    for (int64_t b = 0; b < z.grid * z.grid; b++) {
      const int64_t row = b / z.grid, column = b % z.grid;
      pack_inner<kProductRows>(p.x + (row * z.height + first) * p.x_step + k.begin + column * depth + i, p.x_step, counts[row], count,
                               blocks + b * kBlock, Scaled{scales[row]});
    }
    change_blocks<BaseA>(z.grid, blocks, kBlock, count * kProductRows);
    for (int s = 0; s < z.products; s++)
      add_blocks(z.steps[s].a, z.grid, blocks, kBlock, count * kProductRows, sums + s * z.tiles * step + i * kProductRows, z.tiles * step);
  }
}

namespace {

// kGroup inputs of a panel of the weight, and as many columns from `column` on of panels side by side that have them.
void copy_panel(const float* from, int64_t depth, int64_t column, float* out) {
  for (int64_t i = 0; i < kPanel; i += W) {
    const int64_t at = column + i;
    float* to = out + at / kProductColumns * kProductColumns * depth + at % kProductColumns;
    for (int64_t k = 0; k < kGroup; k++) store(to + k * kProductColumns, load(from + k * kPanel + i));
  }
}

// Blocks of the weight in their basis, kWidth columns from `column` on of each, as panels [kWidth / kProductColumns][k][kProductColumns].
void turn_blocks(const Product& p, const Cut& z, Range k, int64_t column, float* out) {
  static_assert(kWidth == kGroup, "a panel's inputs are unpacked by groups");
  alignas(64) float room[kGroup * kPanel];
  const int64_t grid = z.grid, depth = (k.end - k.begin) / grid, apart = block_step(depth);
  // Inputs of a panel; those that come after them are fetched.
  const auto inputs = [&](int64_t panel, int64_t first, int64_t next_panel, int64_t next) {
    if (p.weight->dtype == kF32)
      for (int64_t i = 0; i < kGroup; i++) __builtin_prefetch((const float*)p.weight->data + (next_panel * p.weight->columns + next + i) * kPanel);
    return panel_floats(*p.weight, panel, {first, first + kGroup}, room);
  };
  for (int64_t i = 0; i < depth; i += kGroup) {
    for (int64_t b = 0; b < grid * grid; b++) {
      const int64_t from = p.first_k + k.begin + b / grid * depth + i, at = p.first_column + column + b % grid * kWidth;
      for (int64_t j = 0; j < kGroup; j += kPanel) {
        float* to = out + b * apart;
        if (p.forward) {
          const int64_t panel = (at + j) / kPanel;
          copy_panel(inputs(panel, from, panel, from + kGroup), depth, j, to + i * kProductColumns);
          continue;
        }
        const int64_t panel = (from + j) / kPanel;
        const float* block = inputs(panel, at, panel + 1, at);
        for (int64_t c = 0; c < kWidth; c += kProductColumns)
          pack_inner<kProductColumns>(block + c * kPanel, kPanel, kProductColumns, kPanel, to + c * depth + (i + j) * kProductColumns);
      }
    }
    for (int64_t c = 0; c < kWidth; c += kProductColumns) change_blocks<BaseB>(grid, out + c * depth + i * kProductColumns, apart, kGroup * kProductColumns);
  }
}

// Where a product of a tile goes: c = (add ? c : 0) + sign * product.
struct Place {
  float* c;
  vf sign;
  bool add;
};

template <int R>
NOINLINE void product_to(int64_t k, const float* a, const float* b, int64_t row, const Place* places, int count) {
  constexpr int C = kProductColumns / W;
  vf acc[R][C];
  for (int p = 0; p < count; p++)
    for (int i = 0; i < R * kProductColumns; i += kPanel) __builtin_prefetch(places[p].c + row * kProductColumns + i, 1);
  multiply_rows(k, a + row, b, acc);
  for (int p = 0; p < count; p++) {
    const vf sign = places[p].sign;
    float* c = places[p].c + row * kProductColumns;
    UNROLL
    for (int r = 0; r < R; r++) {
      UNROLL
      for (int j = 0; j < C; j++) {
        float* to = c + r * kProductColumns + j * W;
        store(to, places[p].add ? fma(acc[r][j], sign, load(to)) : acc[r][j] * sign);
      }
    }
  }
}

template <int R>
INLINE void products_to(int64_t& row, int64_t rows, int64_t k, const float* a, const float* b, const Place* places, int count) {
  for (; row + R <= rows; row += R) product_to<R>(k, a, b, row, places, count);
}

// A chunk's columns of the result from its blocks [grid][grid][tiles][kWidth / kProductColumns][rows][columns], added to what is there.
template <int G>
void settle(const Product& p, const Cut& z, const float* inverses, bool first, int64_t column, const float* blocks) {
  const int64_t apart = z.tiles * kProductRows * kWidth;
  for (int64_t row = 0; row < z.height; row++) {
    for (int64_t down = 0, next = row + 2; down < G && down * z.height + next < z.rows; down++)
      for (int64_t j = 0; j < G * kWidth; j += kPanel) __builtin_prefetch(p.c + (down * z.height + next) * p.c_step + column + j, 1);
    for (int64_t j = 0; j < kWidth; j += W) {
      const int64_t tile = row / kProductRows * kWidth + j / kProductColumns * kProductColumns, lane = row % kProductRows;
      const float* from = blocks + tile * kProductRows + lane * kProductColumns + j % kProductColumns;
      vf v[G][G];
      UNROLL
      for (int b = 0; b < G * G; b++) v[b / G][b % G] = load(from + b * apart);
      change<BaseC>(v);
      UNROLL
      for (int down = 0; down < G; down++) {
        if (down * z.height + row >= z.rows) break;
        const vf inverse = splat(inverses[down * z.tiles * kProductRows + row]);
        const int64_t at = (down * z.height + row) * p.c_step + column + j;
        UNROLL
        for (int right = 0; right < G; right++) {
          float* c = p.c + at + right * kWidth;
          const vf before = !first ? load(c) : p.residual ? load(p.residual + at + right * kWidth) : (vf){};
          store(c, fma(v[down][right], inverse, before));
        }
      }
    }
  }
}

}  // namespace

void strassen::multiply(const Product& p, const Cut& z, Range k, bool first, int64_t column, const float* packed, float* place) {
  constexpr int64_t kTile = kProductRows * kWidth;
  alignas(64) float sum[kRound / 2 * kWidth], result[4 * kMostRows * kWidth];
  const int64_t grid = z.grid, depth = (k.end - k.begin) / grid, step = tile_step(depth);
  turn_blocks(p, z, k, column, place);
  bool made[4][4] = {};
  for (int s = 0; s < z.products; s++) {
    const Sum &of = z.steps[s].b, &to = z.steps[s].c;
    const float* b = sum;
    if (of.count == 1) b = place + (of.terms[0].row * grid + of.terms[0].column) * block_step(depth);
    else add_blocks(of, grid, place, block_step(depth), depth * kWidth, sum);
    Place places[4];
    for (int i = 0; i < to.count; i++) {
      const auto& t = to.terms[i];
      places[i] = {result + (t.row * grid + t.column) * z.tiles * kTile, splat((float)t.sign), made[t.row][t.column]};
      made[t.row][t.column] = true;
    }
    for (int64_t tile = 0; tile < z.tiles; tile++) {
      const float* a = packed + z.sums + (s * z.tiles + tile) * step;
      const int64_t rows = smaller(kProductRows, z.height - tile * kProductRows);
      for (int64_t j = 0; j < kWidth; j += kProductColumns) {
        int64_t row = 0;
        products_to<kProductRows>(row, rows, depth, a, b + j * depth, places, to.count);
        if (kProductRows > 8) products_to<8>(row, rows, depth, a, b + j * depth, places, to.count);
        if (kProductRows > 4) products_to<4>(row, rows, depth, a, b + j * depth, places, to.count);
        if (kProductRows > 2) products_to<2>(row, rows, depth, a, b + j * depth, places, to.count);
        products_to<1>(row, rows, depth, a, b + j * depth, places, to.count);
        for (int i = 0; i < to.count; i++) places[i].c += kProductRows * kProductColumns;
      }
    }
  }
  if (grid == 4) settle<4>(p, z, packed, first, column, result);
  else if (grid == 2) settle<2>(p, z, packed, first, column, result);
  else settle<1>(p, z, packed, first, column, result);
}

bool strassen::may_nest(int64_t k, int64_t columns) {
  return kTwoLevels && k >= kTwoLevelDepth && columns >= kTwoLevelDepth && k % (4 * kGroup) == 0 && columns % (4 * kWidth) == 0;
}

int64_t strassen::rounds_of(int64_t k) { return up(k, kRound); }

strassen::Cut strassen::cut_of(const Product& p, int64_t rows, int64_t grid) {
  Cut z;
  z.steps = grid == 4 ? kSixteenths.steps : grid == 2 ? kQuarters : kWhole;
  z.products = grid == 4 ? 49 : grid == 2 ? 7 : 1;
  z.grid = grid;
  z.rows = rows;
  z.height = up(rows, grid);
  z.tiles = up(z.height, kProductRows);
  z.depth = up(p.k / (grid * kGroup), rounds_of(p.k)) * kGroup;
  z.sums = up(grid * z.tiles * kProductRows, kPanel) * kPanel;
  z.packed = z.sums + z.products * z.tiles * tile_step(z.depth);
  z.place = grid * grid * block_step(z.depth);
  return z;
}

Range strassen::round_of(const Product& p, const Cut& z, int64_t round) {
  const int64_t unit = z.grid * kGroup;
  const Range units = part(p.k / unit, round, rounds_of(p.k));
  return {units.begin * unit, units.end * unit};
}

int strassen::take_place(uint32_t* taken) {
  uint32_t seen = __atomic_load_n(taken, __ATOMIC_RELAXED);
  for (;;) {
    const int place = __builtin_ctz(~seen);
    if (__atomic_compare_exchange_n(taken, &seen, seen | 1u << place, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) return place;
  }
}
void strassen::leave_place(uint32_t* taken, int place) { __atomic_fetch_and(taken, ~(1u << place), __ATOMIC_RELEASE); }

namespace {

// The scratch: which places are taken, the packed sums, the places.
float* packed_of(const Record& r) { return (float*)r.scratch + kPanel; }

// Of any number of rows up to those of the record.
size_t scratch_of(const Product& p) {
  const auto of = [&](const Cut& z) { return kPanel + z.packed + chunks_of(p, z) * z.place; };
  const int64_t one = of(strassen::cut_of(p, smaller(p.rows, 2 * kMostRows), 2));
  return (size_t)larger(one, may_nest(p.k, p.columns) ? of(strassen::cut_of(p, smaller(p.rows, kMostRows), 4)) : 0) * sizeof(float);
}

bool fits(const Product& p) {
  return p.rows >= kLeastRows && p.weight && p.k >= kLeastDepth && p.k % (2 * kGroup) == 0 && p.columns % (2 * kWidth) == 0;
}

// Fewer rows may make more groups, but no more than these.
int repeats_of(const Product& p) { return (int)(up(p.rows, kMostRows) * rounds_of(p.k)); }

int chunks_of(const Product& p, int stage) {
  const int64_t group = stage / 2 / rounds_of(p.k);
  if (group >= groups_of(p)) return 0;
  const Range rows = group_of(p, group);
  const Cut z = cut_of(p, rows.end - rows.begin);
  return (int)(stage % 2 ? chunks_of(p, z) : 2 * z.tiles);
}

int run_of(Product p, const Record& r, int stage, int chunk) {
  const int64_t round = stage / 2 % rounds_of(p.k);
  const Range rows = group_of(p, stage / 2 / rounds_of(p.k));
  const Cut z = cut_of(p, rows.end - rows.begin);
  p.x += rows.begin * p.x_step;
  p.c += rows.begin * p.c_step;
  if (p.residual) p.residual += rows.begin * p.c_step;
  const Range k = round_of(p, z, round);
  uint32_t* taken = (uint32_t*)r.scratch;
  float* packed = packed_of(r);
  if (stage % 2 == 0) {
    if (chunk == 0) *taken = 0;
    pack_tile(p, z, k, chunk / 2, chunk % 2, packed);
    return kOk;
  }
  const int64_t wide = z.grid * kWidth;
  const Range columns = part(p.columns / wide, chunk, chunks_of(p, z));
  const int place = take_place(taken);
  for (int64_t i = columns.begin; i < columns.end; i++)
    multiply(p, z, k, round == 0, i * wide, packed, packed + z.packed + place * z.place);
  leave_place(taken, place);
  return kOk;
}

}  // namespace

bool strassen_fits(const Record& r) { return fits(linear_product(r)); }
size_t strassen_scratch(const Record& r) { return scratch_of(linear_product(r)); }
int strassen_repeats(const Record& r) { return repeats_of(linear_product(r)); }
int strassen_chunks(const Record& r, int stage) { return chunks_of(linear_product(r), stage); }
int strassen_run(const Record& r, int stage, int chunk, int) { return run_of(linear_product(r), r, stage, chunk); }

bool strassen_grad_fits(const Record& r) { return fits(input_grad_product(r)); }
size_t strassen_grad_scratch(const Record& r) { return scratch_of(input_grad_product(r)); }
int strassen_grad_repeats(const Record& r) { return repeats_of(input_grad_product(r)); }
int strassen_grad_chunks(const Record& r, int stage) { return chunks_of(input_grad_product(r), stage); }
int strassen_grad_run(const Record& r, int stage, int chunk, int) { return run_of(input_grad_product(r), r, stage, chunk); }

}  // namespace openelm::OPENELM_ISA
