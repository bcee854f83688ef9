// See encode.h. In vectors that any CPU of the kind has: reading and writing files takes longer.
#include "encode.h"

#include <cstring>

#define OPENELM_ISA plain
#include "kernels/simd.h"

namespace openelm {

namespace {

using namespace plain;

float inverse_of(float scale) { return scale != 0 ? 1.0f / scale : 0; }

void put_scale(float scale, uint8_t* out) {
  const uint16_t half = f32_to_f16(scale);
  out[0] = static_cast<uint8_t>(half);
  out[1] = static_cast<uint8_t>(half >> 8);
}

// An infinite inverse, of tiny scales, and what is not a number give 0.
vf finite_or_zero(vf v) { return v - v == 0 ? v : vf{}; }

// The largest magnitude of a block as bits: what is not a number is the largest.
int32_t top_of(const float* x) {
  vi tops = {};
  for (int i = 0; i < kGroup; i += W) tops = vmax_int(bits(vabs(load(x + i))), tops);
  int32_t top = 0;
  for (int i = 0; i < W; i++) top = tops[i] > top ? tops[i] : top;
  return top;
}

void encode_q8(const float* x, uint8_t* out) {
  const float scale = float_of(static_cast<uint32_t>(top_of(x))) / 127.0f, inverse = inverse_of(scale);
  put_scale(scale, out);
  int32_t codes[kGroup];
  for (int i = 0; i < kGroup; i += W) {
    const vf v = finite_or_zero(load(x + i) * inverse);
    const vi t = truncate(v);
    const vf rest = v - to_float(t);
    store_int(codes + i, t - (rest >= 0.5f) + (rest <= -0.5f));   // halves go away from zero; true is -1
  }
  for (int i = 0; i < kGroup; i++) out[2 + i] = static_cast<uint8_t>(codes[i]);
}

void encode_q4(const float* x, uint8_t* out) {
  const uint32_t top = static_cast<uint32_t>(top_of(x));
  const float* peak = x;
  while ((bits_of(*peak) & 0x7fffffff) != top) peak++;
  const float scale = *peak / -8.0f, inverse = inverse_of(scale);
  put_scale(scale, out);
  int32_t codes[kGroup];
  for (int i = 0; i < kGroup; i += W) {
    const vi code = truncate(finite_or_zero(load(x + i) * inverse + 8.5f));
    store_int(codes + i, code < 15 ? code : splat_int(15));
  }
  for (int i = 0; i < kGroup / 2; i++) out[2 + i] = static_cast<uint8_t>(codes[i] | codes[i + kGroup / 2] << 4);
}

}  // namespace

void encode_blocks(ToF32 to_f32, DType source, const uint8_t* src, DType type, uint8_t* out, int64_t values) {
  constexpr int64_t kPiece = 32 * kGroup;   // stays in the nearest cache
  float x[kPiece];
  for (int64_t done = 0; done < values; done += kPiece) {
    const int64_t count = values - done < kPiece ? values - done : kPiece;
    to_f32(source, src + done * element_bytes(source), x, count);
    for (int64_t i = 0; i < count; i += kGroup, out += block_bytes(type)) {
      if (type == kQ8) encode_q8(x + i, out);
      else encode_q4(x + i, out);
    }
  }
}

}  // namespace openelm
