// Products with frozen weights by Strassen's algorithm, a piece at a time: strassen.cc makes layers of them, frozen_loss.cc the loss.
#pragma once
#include "gemm.h"

namespace openelm::OPENELM_ISA {

namespace strassen {

constexpr int64_t kWidth = 32;        // columns of a block
constexpr int64_t kRound = 2048;      // k in a round, at most
constexpr int64_t kPlaces = 24;       // for blocks of b in the scratch: chunks, at most
constexpr int64_t kMostRows = 528;    // of a group at two levels, twice as many at one: a chunk's part of the result is in the second cache
constexpr int64_t kLeastRows = 384, kLeastDepth = 512;
constexpr int64_t kTwoLevelRows = 448, kTwoLevelDepth = 768;
#if defined(__AVX512F__) || defined(OPENELM_TWO_LEVELS)
constexpr bool kTwoLevels = true;
#else
constexpr bool kTwoLevels = false;    // smaller tiles gain less than the sums cost
#endif
static_assert(kMostRows % (4 * kProductRows) == 0 && kWidth % kProductColumns == 0, "whole tiles");

// c [rows, columns] = x [rows, k] b (+ residual); b is a part of the weight, turned if it goes forward: its k and its columns begin at
// these of the weight. Rows of x, and those of c and the residual, lie their steps apart. No weight: it is multiplied as integers.
struct Product {
  int64_t rows, k, columns;
  const float* x;
  const Weight* weight;
  bool forward;
  float* c;
  const float* residual;
  int64_t x_step, c_step, first_k, first_column;
};

// Blocks, by row and column, each with its sign.
struct Sum {
  struct { int row, column, sign; } terms[4];
  int count;
};
// A product of sums of blocks, and the blocks of the result that it goes to.
struct Step {
  Sum a, b, c;
};

// How rows are cut (into a grid of 4, at two levels, of 2 or, for an ordinary product, of 1), and what of the scratch they take: of
// each row 1 / its scale, and the packed sums of x [products][tiles]; and a place for b's blocks. Sizes in floats; depth is that of a
// block, at most.
struct Cut {
  const Step* steps;
  int products;
  int64_t grid, rows, height, tiles, depth, sums, packed, place;
};

bool may_nest(int64_t k, int64_t columns);
int64_t rounds_of(int64_t k);
Cut cut_of(const Product&, int64_t rows, int64_t grid);
// k of a round: whole groups in all blocks.
Range round_of(const Product&, const Cut&, int64_t round);
// A tile of the rows of all sums to `packed`, for these k; a half of them.
void pack_tile(const Product&, const Cut&, Range k, int64_t tile, int64_t half, float* packed);
// These k times grid * kWidth columns from `column` on, in a place for b's blocks. `first`: c has nothing yet.
void multiply(const Product&, const Cut&, Range k, bool first, int64_t column, const float* packed, float* place);
// A place for a chunk while it runs: the first that is free, so that few threads stay in few, which are still in the cache.
int take_place(uint32_t* taken);
void leave_place(uint32_t* taken, int place);

}  // namespace strassen

}  // namespace openelm::OPENELM_ISA
