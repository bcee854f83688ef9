// A weight's panels as the way back through it and the loss over it multiply with them: its rows as f32, as panels in which they
// are k, or as tiles. The forward pass reads panels as they are (linear_float.cc).
#include "gemm.h"

namespace openelm::OPENELM_ISA {

namespace {

int64_t depth_of(const Weight& w) { return quantized(w.dtype) ? padded(w.columns) : w.columns; }

// out[k][0..N) = from[k][0..N), kProductRows and 16 apart.
template <int N>
void copy_lanes(const float* from, int64_t count, float* out) {
  for (int64_t k = 0; k < count; k++) memcpy(out + k * kProductRows, from + k * kPanel, N * sizeof(float));
}
template <int N>
void copy_lanes(int64_t lanes, const float* from, int64_t count, float* out) {
  if (lanes == N) copy_lanes<N>(from, count, out);
  else if constexpr (N > 1) copy_lanes<N - 1>(lanes, from, count, out);
}

}  // namespace

const float* panel_floats(const Weight& w, int64_t panel, Range inputs, float* room) {
  if (w.dtype == kF32) return (const float*)w.data + (panel * w.columns + inputs.begin) * kPanel;
  unpack_panel(w, panel, inputs.begin, inputs.end - inputs.begin, room);
  return room;
}

void weight_rows(const Weight& w, Range rows, Range inputs, float* out, int64_t stride) {
  alignas(64) float room[kGroup * kPanel], turned[kPanel * kGroup + kSlack];
  for (int64_t first = rows.begin / kPanel * kPanel; first < rows.end; first += kPanel) {
    const Range here = {larger(rows.begin, first), smaller(rows.end, first + kPanel)};
    for (int64_t g = inputs.begin / kGroup * kGroup; g < inputs.end; g += kGroup) {
      const int64_t count = smaller(kGroup, depth_of(w) - g);
      pack_inner<kGroup>(panel_floats(w, first / kPanel, {g, g + count}, room), kPanel, count, kPanel, turned);
      const Range part = {larger(inputs.begin, g), smaller(inputs.end, g + kGroup)};
      for (int64_t row = here.begin; row < here.end; row++)
        memcpy(out + (row - rows.begin) * stride + part.begin - inputs.begin, turned + (row - first) * kGroup + part.begin - g,
               (size_t)(part.end - part.begin) * sizeof(float));
    }
  }
}

void weight_panels(const Weight& w, Range rows, Range inputs, float* out, int64_t step) {
  constexpr int S = kProductColumns;
  static_assert(kGroup % S == 0, "whole panels to a group");
  alignas(64) float room[kGroup * kPanel];
  for (int64_t row = rows.begin; row < rows.end;) {
    const int64_t panel = row / kPanel, lane = row % kPanel, end = smaller(rows.end, (panel + 1) * kPanel);
    for (int64_t g = inputs.begin / kGroup * kGroup; g < inputs.end; g += kGroup) {
      const float* group = panel_floats(w, panel, {g, smaller(g + kGroup, depth_of(w))}, room);
      for (int64_t i = larger(g, inputs.begin); i < smaller(g + kGroup, inputs.end); i += S)
        pack_inner<S>(group + (i - g) * kPanel + lane, kPanel, smaller(S, inputs.end - i), end - row,
                      out + (i - inputs.begin) / S * step + (row - rows.begin) * S);
    }
    row = end;
  }
}

void weight_tiles(const Weight& w, Range rows, Range inputs, float* out, int64_t step) {
  constexpr int64_t kWidth = 4 * kGroup;
  alignas(64) float room[kWidth * kPanel];
  for (int64_t row = rows.begin; row < rows.end;) {
    const int64_t panel = row / kPanel, panel_end = smaller(rows.end, (panel + 1) * kPanel);
    for (int64_t g = inputs.begin / kGroup * kGroup; g < inputs.end; g += kWidth) {
      const float* block = panel_floats(w, panel, {g, smaller(g + kWidth, depth_of(w))}, room);
      const Range here = {larger(g, inputs.begin), smaller(g + kWidth, inputs.end)};
      for (int64_t at = row; at < panel_end;) {
        const int64_t tile = (at - rows.begin) / kProductRows, end = smaller(rows.begin + (tile + 1) * kProductRows, panel_end);
        copy_lanes<kProductRows>(end - at, block + (here.begin - g) * kPanel + at % kPanel, here.end - here.begin,
                              out + tile * step + (here.begin - inputs.begin) * kProductRows + (at - rows.begin) % kProductRows);
        at = end;
      }
    }
    row = panel_end;
  }
}

}  // namespace openelm::OPENELM_ISA
