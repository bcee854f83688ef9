// linear: out = x weight^T (+ residual). Stage 0 packs or quantizes the rows of x into the scratch, stage 1 multiplies. Here is
// how the work is cut, by sizes only; the products are in linear_float.cc and linear_quant.cc.
#include "internal.h"

namespace openelm::OPENELM_ISA {

// Rows are cut into chunks at multiples of this.
static int64_t row_unit(const LinearPlan& p) { return p.int8 ? kCodeRows : kRowPanel; }

static LinearPlan plan_of(const Record& r) {
  using namespace linear_op;
  const Weight& w = *r.operands[weight_].weight;
  LinearPlan p;
  p.rows = r.ints[i_rows_];
  p.inputs = r.ints[i_inputs_];
  p.outputs = r.ints[i_outputs_];
  p.panels = panels(p.outputs);
  p.int8 = quantized(w.dtype) && r.ints[i_int8_] != 0;
  p.in_place = p.rows <= kFewRows && !quantized(w.dtype);
  p.unit = p.rows == 1 || p.in_place ? 4 : 2;
  const int64_t units = up(p.panels, p.unit);
  p.row_chunks = 1;
  if (p.unit == 4) {
    // At least 64 KiB of weights each: five microseconds from memory.
    const int64_t bytes = weight_bytes(w.dtype, p.outputs, p.inputs);
    p.column_chunks = clamp(bytes >> 16, 1, smaller(units, bytes > (8 << 20) ? 64 : 32));
  } else {
    const int64_t work = clamp(p.rows * p.outputs * p.inputs >> 20, 1, 32);
    p.column_chunks = clamp(work, 1, larger(units, 1));
    if (p.column_chunks < 16) p.row_chunks = clamp(work / p.column_chunks, 1, larger(p.rows / (4 * kRowPanel), 1));
  }
  return p;
}

// f32 rows, as training has them, are another product, and so are many rows with f32 weights (strassen.cc).
static bool by_rows(const Record& r) { return !r.operands[linear_op::weight_].weight; }

size_t linear_scratch(const Record& r) {
  if (by_rows(r)) return gemm_scratch(r);
  LinearPlan p = plan_of(r);
  const Weight& w = *r.operands[linear_op::weight_].weight;
  const size_t bytes = p.int8 ? quant_scratch(p, w) : float_scratch(p, w), more = strassen_fits(r) ? strassen_scratch(r) : 0;
  return bytes > more ? bytes : more;
}

int linear_repeats(const Record& r) { return by_rows(r) ? gemm_repeats(r) : strassen_fits(r) ? strassen_repeats(r) : 1; }

int linear_chunks(const Record& r, int stage) {
  if (by_rows(r)) return gemm_chunks(r, stage);
  if (strassen_fits(r)) return strassen_chunks(r, stage);
  LinearPlan p = plan_of(r);
  if (p.rows <= 0 || stage > 1) return 0;
  if (stage == 1) return (int)(p.column_chunks * p.row_chunks);
  if (p.in_place) return 0;
  return (int)clamp(p.rows * p.inputs >> 14, 1, smaller(32, up(p.rows, row_unit(p))));
}

int linear_run(const Record& r, int stage, int chunk, int chunks) {
  if (by_rows(r)) return gemm_run(r, stage, chunk, chunks);
  if (strassen_fits(r)) return strassen_run(r, stage, chunk, chunks);
  LinearPlan p = plan_of(r);
  if (stage == 0) {
    Range tiles = part(up(p.rows, row_unit(p)), chunk, chunks);
    if (p.int8) quantize_rows(r, p, tiles);
    else float_pack(r, p, tiles);
    return kOk;
  }
  // Neighbouring chunks share the rows' block, not the weights.
  Range units = part(up(p.panels, p.unit), chunk % p.column_chunks, p.column_chunks);
  Range tiles = part(up(p.rows, row_unit(p)), chunk / p.column_chunks, p.row_chunks);
  int64_t p0 = units.begin * p.unit, p1 = smaller(units.end * p.unit, p.panels);
  int64_t m0 = tiles.begin * row_unit(p), m1 = smaller(tiles.end * row_unit(p), p.rows);
  if (p.int8) quant_gemm(r, p, p0, p1, m0, m1);
  else if (p.in_place) float_few_rows(r, p, p0, p1);
  else float_gemm(r, p, p0, p1, m0, m1);
  return kOk;
}

}  // namespace openelm::OPENELM_ISA
