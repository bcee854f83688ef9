// Numbers into GGUF's blocks as they lie in files: what converting a model takes most of its time for. src/formats/encode.ts defines
// it, and the bytes are the same. Weights to compute with are packed by kernels/pack.cc.
#pragma once
#include "kernels/kernels.h"

namespace openelm {

// Of a block of kGroup values in Q8_0 (kQ8) or Q4_0 (kQ4).
constexpr int64_t block_bytes(DType type) { return 2 + kGroup * code_bits(type) / 8; }

// `values` is a multiple of kGroup; `source` is f32, f16 or bf16.
void encode_blocks(ToF32 to_f32, DType source, const uint8_t* src, DType type, uint8_t* out, int64_t values);

}  // namespace openelm
