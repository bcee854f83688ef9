// Rows of a weight as f32, row after row, out of its panels: what the way back through a frozen weight and the loss over a frozen
// head multiply with. The forward pass reads panels as they are (linear_float.cc).
#include "gemm.h"

namespace openelm::OPENELM_ISA {

void weight_rows(const Weight& w, Range rows, Range k, float* out, int64_t stride) {
  static_assert(kGroup % W == 0, "whole vectors");
  alignas(64) float panel[kGroup * kPanel], turned[kPanel * kGroup + kSlack];
  const int64_t depth = quantized(w.dtype) ? padded(w.columns) : w.columns;
  for (int64_t first = rows.begin / kPanel * kPanel; first < rows.end; first += kPanel) {
    const Range here = {larger(rows.begin, first), smaller(rows.end, first + kPanel)};
    for (int64_t g = k.begin / kGroup * kGroup; g < k.end; g += kGroup) {
      const int64_t count = smaller(kGroup, depth - g);
      unpack_panel(w, first / kPanel, g, count, panel);
      pack_inner<kGroup>(panel, kPanel, count, kPanel, turned);   // [input][row] to [row][input]: panel's rows are its k
      const Range part = {larger(k.begin, g), smaller(k.end, g + kGroup)};
      for (int64_t row = here.begin; row < here.end; row++)
        memcpy(out + (row - rows.begin) * stride + part.begin - k.begin, turned + (row - first) * kGroup + part.begin - g,
               (size_t)(part.end - part.begin) * sizeof(float));
    }
  }
}

}  // namespace openelm::OPENELM_ISA
