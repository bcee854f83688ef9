// What sums over processes need of a buffer's memory, beside the queue of programs: `SharedMemory` of src/tensor/shared-memory.ts. Plain loops that
// wait for memory, the same on every CPU to the bit; kernels of programs are in kernels/.
#pragma once
#include <cstdint>

namespace openelm {

// Zeros; whole pages go back to the system where they come back as zeros.
void clear(float* values, int64_t count);
// rounded = bf16(values + error), to the nearest, ties to even; error = what is lost, 0 where that is not finite.
void round_keeping(const float* values, float* error, uint16_t* rounded, int64_t count);
// sum[i] = parts[i] + parts[stride + i] + .. of `count` parts in bf16, in that order.
void sum_parts(const uint16_t* parts, int64_t stride, int count, float* sum, int64_t length);

}  // namespace openelm
