// See shared.h.
#include "shared.h"

#include <cstring>

#include "system.h"

namespace openelm {

namespace {

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

}  // namespace

void clear(float* values, int64_t count) {
  uint8_t *const data = reinterpret_cast<uint8_t*>(values), *const end = data + 4 * count;
#if defined(__linux__)
  const uintptr_t page = page_bytes();
  uint8_t* const from = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(data) + page - 1) / page * page);
  uint8_t* const to = reinterpret_cast<uint8_t*>(reinterpret_cast<uintptr_t>(end) / page * page);
  if (from < to) {
    discard_pages(from, static_cast<size_t>(to - from));   // they come back as zeros
    std::memset(data, 0, static_cast<size_t>(from - data));
    std::memset(to, 0, static_cast<size_t>(end - to));
    return;
  }
#endif
  std::memset(data, 0, static_cast<size_t>(end - data));
}

void round_keeping(const float* __restrict values, float* __restrict error, uint16_t* __restrict rounded, int64_t count) {
  constexpr uint32_t infinity = 0x7f800000;
  for (int64_t i = 0; i < count; i++) {
    const float sum = values[i] + error[i];
    const uint32_t bits = bits_of(sum), nearest = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    const uint32_t kept = (bits & ~(1u << 31)) > infinity ? bits | 1u << 22 : nearest;   // what is no number stays none
    rounded[i] = static_cast<uint16_t>(kept >> 16);
    const float lost = sum - float_of(kept);
    error[i] = (kept & infinity) == infinity ? 0.0f : lost;
  }
}

void sum_parts(const uint16_t* parts, int64_t stride, int count, float* sum, int64_t length) {
  constexpr int64_t kBlock = 4096;   // stays in the first-level cache
  for (int64_t from = 0; from < length; from += kBlock) {
    const int64_t n = length - from < kBlock ? length - from : kBlock;
    float* __restrict to = sum + from;
    const uint16_t* first = parts + from;
    for (int64_t i = 0; i < n; i++) to[i] = float_of(uint32_t(first[i]) << 16);
    for (int p = 1; p < count; p++) {
      const uint16_t* __restrict next = parts + p * stride + from;
      for (int64_t i = 0; i < n; i++) to[i] += float_of(uint32_t(next[i]) << 16);
    }
  }
}

}  // namespace openelm
