// What the kernel files of one instruction set share: how rows are split into chunks and the functions that table.cc lists.
#pragma once
#include <type_traits>

#include "tile.h"

namespace openelm {

// The part of `count` units that a chunk has.
struct Range { int64_t begin, end; };

// A linear layer's sizes, and how its products are cut: columns into chunks of whole units of panels, tall ones by rows too.
struct LinearPlan {
  int64_t rows, inputs, outputs, panels, unit, column_chunks, row_chunks;
  bool int8;       // products of int8 with quantized weights
  bool in_place;   // few rows, float weights: nothing is packed
};

// Float (and dequantized) weights: linear_float.cc, panels [p0, p1), rows [m0, m1). f32 rows as weight: gemm.cc.
#define FLOAT_LINEAR_FUNCTIONS                                                                    \
  size_t float_scratch(const LinearPlan&, const Weight&);                                         \
  void float_pack(const Record&, const LinearPlan&, Range tiles);                                 \
  void float_few_rows(const Record&, const LinearPlan&, int64_t p0, int64_t p1);                  \
  void float_gemm(const Record&, const LinearPlan&, int64_t p0, int64_t p1, int64_t m0, int64_t m1); \
  size_t gemm_scratch(const Record&);                                                             \
  int gemm_repeats(const Record&);                                                                \
  int gemm_chunks(const Record&, int stage);                                                      \
  int gemm_run(const Record&, int stage, int chunk, int chunks);                                  \
  bool strassen_fits(const Record&);                                                              \
  size_t strassen_scratch(const Record&);                                                         \
  int strassen_repeats(const Record&);                                                            \
  int strassen_chunks(const Record&, int stage);                                                  \
  int strassen_run(const Record&, int stage, int chunk, int chunks);
#if defined(OPENELM_BASE)
// This instruction set is OPENELM_BASE with other int8 products: only linear.cc, linear_quant.cc, peak.cc and table.cc are
// compiled for it, the rest is the base's.
namespace OPENELM_BASE { FLOAT_LINEAR_FUNCTIONS }
namespace OPENELM_ISA { using namespace OPENELM_BASE; }
#else
namespace OPENELM_ISA { FLOAT_LINEAR_FUNCTIONS }
#endif

}  // namespace openelm

namespace openelm::OPENELM_ISA {

constexpr INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t clamp(int64_t v, int64_t low, int64_t high) { return larger(low, smaller(v, high)); }
constexpr INLINE int64_t up(int64_t v, int64_t step) { return (v + step - 1) / step; }
// Elements of a head in a row of a key or value cache. One of 8 bits has its scale, a float, behind the whole words of its codes.
template <class T>
constexpr bool kCoded = std::is_same<T, code_t>::value;
template <class T>
constexpr INLINE int64_t head_stride(int64_t dim) { return kCoded<T> ? up(dim, 4) * 4 + 4 : dim; }
// By an operand's name: another of the op's names (a size, a constant) does not compile.
template <class Name>
INLINE float* floats(const Record& r, Name operand) { static_assert(is_operand(Name{})); return (float*)r.operands[operand].data; }
template <class Name>
INLINE int32_t* ints(const Record& r, Name operand) { static_assert(is_operand(Name{})); return (int32_t*)r.operands[operand].data; }

// Calls `body(at, load, store)` for whole vectors and then for the rest.
template <class Body>
INLINE void by_vectors(int64_t n, Body body) {
  int64_t i = 0;
  for (; i + W <= n; i += W) body(i, [](const float* p) __attribute__((always_inline)) { return load(p); },
                                  [](float* p, vf v) __attribute__((always_inline)) { store(p, v); });
  const int rest = (int)(n - i);
  if (rest > 0) body(i, [rest](const float* p) { return load_part(p, rest); }, [rest](float* p, vf v) { store_part(p, v, rest); });
}

INLINE Range part(int64_t count, int64_t chunk, int64_t chunks) { return {count * chunk / chunks, count * (chunk + 1) / chunks}; }

// At most 32 chunks of whole rows, of at least 8192 elements each.
INLINE int row_chunks(int64_t rows, int64_t columns) {
  return rows <= 0 ? 0 : (int)clamp(rows * columns / 8192, 1, smaller(32, rows));
}

constexpr int kRowPanel = 12;   // rows packed side by side; row chunks are multiples of it
#if defined(__wasm_simd128__) && !defined(OPENELM_DOT)
constexpr int kCodeRows = 15;   // that of rows of codes: whole tiles of linear_quant.cc
#else
constexpr int kCodeRows = kRowPanel;
#endif
constexpr int kFewRows = 6;

// int8 products: linear_quant.cc
size_t quant_scratch(const LinearPlan&, const Weight&);
void quantize_rows(const Record&, const LinearPlan&, Range tiles);
void quant_gemm(const Record&, const LinearPlan&, int64_t p0, int64_t p1, int64_t m0, int64_t m1);

// Weights as f32: unpack.cc. Inputs [k0, k0 + count) of a panel, out[k][16]; count and k0 are multiples of 32 for codes.
void unpack_panel(const Weight&, int64_t panel, int64_t k0, int64_t count, float* out);
// One row.
void unpack_row(const Weight&, int64_t row, float* out);
// The same where they lie, if they are f32, else in `room`: weight_rows.cc.
const float* panel_floats(const Weight&, int64_t panel, Range inputs, float* room);
// Rows and inputs of a weight as f32: as rows, `stride` apart; as gemm.h's panels of inputs, in which rows are k, or its tiles of
// rows, in which inputs are k, `step` apart: weight_rows.cc. Panels begin at a multiple of their width.
void weight_rows(const Weight&, Range rows, Range inputs, float* out, int64_t stride);
void weight_panels(const Weight&, Range rows, Range inputs, float* out, int64_t step);
void weight_tiles(const Weight&, Range rows, Range inputs, float* out, int64_t step);

size_t linear_scratch(const Record&);
int linear_repeats(const Record&);
int linear_chunks(const Record&, int stage);
int linear_run(const Record&, int stage, int chunk, int chunks);
int attention_chunks(const Record&, int stage);
int attention_run(const Record&, int stage, int chunk, int chunks);
int embedding_run(const Record&, int stage, int chunk, int chunks);
int rms_norm_run(const Record&, int stage, int chunk, int chunks);
int qk_norm_rope_chunks(const Record&, int stage);
int qk_norm_rope_run(const Record&, int stage, int chunk, int chunks);
int swiglu_run(const Record&, int stage, int chunk, int chunks);
int silu_run(const Record&, int stage, int chunk, int chunks);
int gather_rows_run(const Record&, int stage, int chunk, int chunks);
int argmax_run(const Record&, int stage, int chunk, int chunks);
int token_logprob_run(const Record&, int stage, int chunk, int chunks);
int copy_run(const Record&, int stage, int chunk, int chunks);
int pack_int16_run(const Record&, int stage, int chunk, int chunks);
int unpack_int16_run(const Record&, int stage, int chunk, int chunks);
// the gradients of linear: gemm.cc; that by its input with many rows: strassen.cc
bool strassen_grad_fits(const Record&);
size_t strassen_grad_scratch(const Record&);
int strassen_grad_repeats(const Record&);
int strassen_grad_chunks(const Record&, int stage);
int strassen_grad_run(const Record&, int stage, int chunk, int chunks);
size_t input_grad_scratch(const Record&);
int input_grad_repeats(const Record&);
int input_grad_chunks(const Record&, int stage);
int input_grad_run(const Record&, int stage, int chunk, int chunks);
size_t weight_grad_scratch(const Record&);
int weight_grad_repeats(const Record&);
int weight_grad_chunks(const Record&, int stage);
int weight_grad_run(const Record&, int stage, int chunk, int chunks);
int embedding_grad_chunks(const Record&, int stage);
int embedding_grad_run(const Record&, int stage, int chunk, int chunks);
size_t rms_norm_grad_scratch(const Record&);
int rms_norm_grad_chunks(const Record&, int stage);
int rms_norm_grad_run(const Record&, int stage, int chunk, int chunks);
size_t qk_norm_rope_grad_scratch(const Record&);
int qk_norm_rope_grad_chunks(const Record&, int stage);
int qk_norm_rope_grad_run(const Record&, int stage, int chunk, int chunks);
size_t attention_grad_scratch(const Record&);
int attention_grad_chunks(const Record&, int stage);
int attention_grad_run(const Record&, int stage, int chunk, int chunks);
int swiglu_grad_run(const Record&, int stage, int chunk, int chunks);
int silu_grad_run(const Record&, int stage, int chunk, int chunks);
// cross_entropy.cc; over frozen weights with many rows: frozen_loss.cc
bool frozen_loss_fits(const Record&);
size_t frozen_loss_scratch(const Record&);
int frozen_loss_stages(const Record&);
int frozen_loss_chunks(const Record&, int stage);
int frozen_loss_run(const Record&, int stage, int chunk, int chunks);
size_t cross_entropy_scratch(const Record&);
int cross_entropy_repeats(const Record&);
int cross_entropy_chunks(const Record&, int stage);
int cross_entropy_run(const Record&, int stage, int chunk, int chunks);
int preference_loss_chunks(const Record&, int stage);
int preference_loss_run(const Record&, int stage, int chunk, int chunks);
size_t global_norm_scratch(const Record&);
int global_norm_chunks(const Record&, int stage);
int global_norm_run(const Record&, int stage, int chunk, int chunks);
int adamw_chunks(const Record&, int stage);
int adamw_run(const Record&, int stage, int chunk, int chunks);
int dropout_chunks(const Record&, int stage);
int dropout_run(const Record&, int stage, int chunk, int chunks);
int scale_columns_run(const Record&, int stage, int chunk, int chunks);
int scale_columns_grad_chunks(const Record&, int stage);
int scale_columns_grad_run(const Record&, int stage, int chunk, int chunks);
int dora_factors_chunks(const Record&, int stage);
int dora_factors_run(const Record&, int stage, int chunk, int chunks);
int dora_factors_grad_chunks(const Record&, int stage);
int dora_factors_grad_run(const Record&, int stage, int chunk, int chunks);
void pack_rows(const Weight&, Stored source, const void* src, int64_t row, int64_t count);
void to_f32(DType source, const void* src, float* out, int64_t count);
double peak_f32();
double peak_int8();

}  // namespace openelm::OPENELM_ISA
