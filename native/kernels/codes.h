// Codes of a quantized weight where they lie (kernels.h says how): four inputs of W outputs as the bytes of a vector's lanes, or one
// alone. The kernels that multiply integers load whole lines instead (linear_quant.cc, quant_neon.h).
#pragma once
#include "internal.h"

namespace openelm::OPENELM_ISA {

// What is subtracted from a stored code.
constexpr int zero_of(DType type) { return type == kQ8 ? 128 : type == kQ4 ? 8 : 0; }
constexpr int64_t group_bytes(DType type) { return 64 * code_bits(type); }   // of 32 inputs of a panel

// Calls body(the type as a constant).
template <DType T> struct TypeOf { static constexpr DType value = T; };
template <class Body>
INLINE void for_type(DType type, Body body) {
  switch (type) {
    case kQ8: return body(TypeOf<kQ8>{});
    case kQ4: return body(TypeOf<kQ4>{});
    case kAffine8: return body(TypeOf<kAffine8>{});
    case kAffine4: return body(TypeOf<kAffine4>{});
    default: return body(TypeOf<kAffine3>{});
  }
}

// Inputs 4 step .. 4 step + 3 of a group, outputs [lane, lane + W) of the panel.
template <DType T>
INLINE vi four_codes(const uint8_t* group, int step, int lane) {
  if (code_bits(T) == 8) return load_int(group + step * 64 + lane * 4);
  if (code_bits(T) == 4) return load_int(group + step / 2 * 64 + lane * 4) >> (step % 2 * 4) & 0x0f0f0f0f;
  const vi low = load_int(group + step / 4 * 64 + lane * 4) >> (step % 4 * 2), high = load_int(group + 128 + lane * 4) >> step;
  return (low & 0x03030303) | (high & 0x01010101) << 2;
}

// Input k of a group.
INLINE int one_code(DType type, const uint8_t* group, int k, int lane) {
  const uint8_t* at = group + lane * 4 + k % 4;
  const int step = k / 4;
  if (code_bits(type) == 8) return at[step * 64];
  if (code_bits(type) == 4) return at[step / 2 * 64] >> (step % 2 * 4) & 15;
  return (at[step / 4 * 64] >> (step % 4 * 2) & 3) | (at[128] >> step & 1) << 2;
}

}  // namespace openelm::OPENELM_ISA
