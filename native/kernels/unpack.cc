// Weights as f32 again: inputs of a panel, or one row (the embedding). Float weights are multiplied where they lie (linear_float.cc), codes
// as integers (linear_quant.cc); what is made of panels for other products is in weight_rows.cc.
#include "codes.h"

namespace openelm::OPENELM_ISA {

template <class T>
INLINE void unpack_floats(const T* w, int64_t count, float* out) {
  for (int64_t i = 0; i < count * kPanel; i += W) store(out + i, load(w + i));
}

#if defined(__wasm_simd128__)
// Of finite numbers, in half the instructions.
INLINE void unpack_finite(const half_t* w, int64_t count, float* out) {
  for (int64_t i = 0; i < count * kPanel; i += W) store(out + i, load((const scaled_half_t*)w + i, (vi)scaled_mask) * 0x1p112f);
}
#endif

template <DType T>
static void unpack_codes(const Weight& w, int64_t panel, int64_t k0, int64_t count, float* out) {
  const int64_t groups = padded(w.columns) / kGroup, scaled = w.groups(), together = w.group / kGroup;
  for (int64_t g = k0 / kGroup; g < (k0 + count) / kGroup; g++, out += kGroup * kPanel) {
    const uint8_t* codes = w.data + (panel * groups + g) * group_bytes(T);
    const int64_t at = (panel * scaled + g / together) * kPanel;
    for (int lane = 0; lane < kPanel; lane += W) {
      const vf scale = load((const half_t*)w.scales + at + lane);
      const vf minimum = affine(T) ? load((const half_t*)w.minimums + at + lane) : (vf){};
      for (int step = 0; step < kGroup / 4; step++) {
        const vi four = four_codes<T>(codes, step, lane);
        UNROLL
        for (int t = 0; t < 4; t++) {
          vf value = to_float((four >> (8 * t) & 255) - zero_of(T)) * scale;
          if (affine(T)) value += minimum;
          store(out + (step * 4 + t) * kPanel + lane, value);
        }
      }
    }
  }
}

void unpack_panel(const Weight& w, int64_t panel, int64_t k0, int64_t count, float* out) {
  const int64_t at = (panel * w.columns + k0) * kPanel;
  switch (w.dtype) {
    case kF32: return unpack_floats((const float*)w.data + at, count, out);
    case kF16:
#if defined(__wasm_simd128__)
      if (!__atomic_load_n(&w.unusual, __ATOMIC_RELAXED)) return unpack_finite((const half_t*)w.data + at, count, out);
#endif
      return unpack_floats((const half_t*)w.data + at, count, out);
    case kBF16: return unpack_floats((const bfloat_t*)w.data + at, count, out);
    default: for_type(w.dtype, [&](auto type) { unpack_codes<type.value>(w, panel, k0, count, out); });
  }
}

template <class T>
INLINE void take_lane(const T* w, int64_t columns, float* out) {
  for (int64_t k = 0; k < columns; k++) out[k] = element(w + k * kPanel);
}

// The panel is walked along the inputs.
void unpack_row(const Weight& w, int64_t row, float* out) {
  const int64_t panel = row / kPanel, at = panel * w.columns * kPanel + row % kPanel;
  const int lane = (int)(row % kPanel);
  switch (w.dtype) {
    case kF32: return take_lane((const float*)w.data + at, w.columns, out);
    case kF16: return take_lane((const half_t*)w.data + at, w.columns, out);
    case kBF16: return take_lane((const bfloat_t*)w.data + at, w.columns, out);
    default: break;
  }
  const int64_t scaled = panel * w.groups() * kPanel + lane, bytes = group_bytes(w.dtype);
  const uint8_t* codes = w.data + panel * (padded(w.columns) / kGroup) * bytes;
  for (int64_t k = 0; k < w.columns; k++) {
    const int64_t group = scaled + k / w.group * kPanel;
    const int code = one_code(w.dtype, codes + k / kGroup * bytes, (int)(k % kGroup), lane) - zero_of(w.dtype);
    out[k] = (float)code * f16_to_f32(w.scales[group]);
    if (affine(w.dtype)) out[k] += f16_to_f32(w.minimums[group]);
  }
}

}  // namespace openelm::OPENELM_ISA
