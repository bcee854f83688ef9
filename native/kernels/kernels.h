// The seam between the kernels and whoever runs them: plain C++17, no Node, no JavaScript, no threads. The kernels are
// compiled once per instruction set (namespace OPENELM_ISA) into one table each; the executor picks a table at run time,
// resolves each record's operands to addresses and calls run() for every chunk of every stage, on any thread.
#pragma once
#include <cstddef>
#include <cstdint>

#include "op_table.h"

namespace openelm {

enum DType : int32_t { kF32, kF16, kBF16, kQ8, kQ4, kI32, kAffine8, kAffine4, kAffine3 };

// Results of a chunk; the numbers are ExecutionCode's on the other side of the door.
enum Code : int { kOk = 0, kIndexOutOfRange, kSizeOutOfRange, kOutOfMemory, kCancelled, kPoisoned };

constexpr int kPanel = 16;   // weight rows (outputs) in a panel
constexpr int kGroup = 32;   // inputs that are multiplied as integers: in q8 and q4 they share a scale

// An uploaded matrix [rows = outputs][columns = inputs], in panels of 16 rows; the last panel is padded with zero rows.
//   f32, f16, bf16: [panels][columns][16]
//   q8:  [panels][K/4][16][4]  u8 = q + 128       K = columns rounded up to 32, padded with q = 0
//   q4:  [panels][K/8][16][4]  low nibble k-step 2j, high nibble k-step 2j + 1; u4 = q + 8
//   scales (q8, q4): f16 [panels][K/32][16]
// affine: value = scale * u + minimum, `group` inputs (32, 64 or 128; K is a multiple) share both.
//   affine8, affine4: u8 as q8, u4 as q4
//   affine3: [panels][K/32] of the two lower bits [2][16][4], k-steps 4j to 4j + 3 from the lowest bits of a byte up, then the
//            third ones [16][4], k-step i in bit i
//   scales, minimums: f16 [panels][K/group][16]
struct Weight {
  DType dtype;
  int32_t rows, columns;
  uint8_t* data;
  uint16_t* scales;
  uint16_t* minimums;
  int32_t group;
  mutable int32_t unusual = 0;   // in WASM set by pack_rows: an element (f16) or a scale (q8, q4) is infinite or not a number, or one of q8 is negative
  int64_t groups() const { return (columns + group - 1) / group; }
};
static inline bool quantized(DType dtype) { return dtype == kQ8 || dtype == kQ4 || dtype >= kAffine8; }
constexpr int64_t element_bytes(DType dtype) { return dtype == kF16 || dtype == kBF16 ? 2 : 4; }
constexpr bool affine(DType dtype) { return dtype >= kAffine8; }
constexpr int code_bits(DType dtype) { return dtype == kQ8 || dtype == kAffine8 ? 8 : dtype == kAffine3 ? 3 : 4; }   // of a code

static inline int64_t panels(int64_t rows) { return (rows + kPanel - 1) / kPanel; }
static inline int64_t padded(int64_t columns) { return (columns + kGroup - 1) / kGroup * kGroup; }
static inline int64_t weight_bytes(DType dtype, int64_t rows, int64_t columns) {
  const int64_t n = panels(rows) * kPanel;
  switch (dtype) {
    case kF32: return n * columns * 4;
    case kF16: case kBF16: return n * columns * 2;
    default: return n * padded(columns) * code_bits(dtype) / 8;
  }
}
// Of the scales; an affine weight's minimums take as many.
static inline int64_t scale_bytes(const Weight& w) { return quantized(w.dtype) ? panels(w.rows) * kPanel * w.groups() * 2 : 0; }

struct Operand {
  void* data;              // rows layout: the first element of the view; null when left out
  const Weight* weight;    // weight layout
  DType dtype;
  int64_t elements;        // in the view
};

constexpr int kMaxOperands = 12, kMaxInts = 8, kMaxFloats = 4;

// A record with everything resolved for this run. `ints` hold the values of this run.
struct Record {
  Operand operands[kMaxOperands];
  int32_t ints[kMaxInts];
  float floats[kMaxFloats];
  void* scratch;           // of scratch() bytes, 64-byte aligned; shared by all chunks of the record
};

// Bytes of stack that a chunk may take; the largest is attention's gradient.
constexpr size_t kChunkStack = 512 << 10;

// How one op runs. Chunks depend on sizes and params only, never on the number of threads: same bits at any thread count.
struct OpKernel {
  int stages;                                               // run in order; all chunks of one before any of the next
  size_t (*scratch)(const Record&);                         // bytes, for the largest sizes; may be null
  int (*chunks)(const Record&, int stage);                  // >= 0; reads params operands only, no computed data
  int (*run)(const Record&, int stage, int chunk, int chunks);   // Code
  int (*repeats)(const Record&);                            // how often the stages run, for the largest sizes; null: once.
                                                            // Their numbers count on: round * stages + stage
};

// What is stored in rows: the elements of a matrix (f32, f16 or bf16), or a part of an affine one: its scales or minimums, one a
// group, or its codes, of 2 to 8 bits each, end to end from the lowest bits up (MLX).
struct Stored {
  enum Part : int32_t { kElements, kCodes, kScales, kMinimums } part = kElements;
  DType dtype = kF32;   // of all but codes; elements of q8 and q4 are GGUF's blocks, Q8_0 and Q4_0
  int bits = 0;         // of codes
};
static inline int64_t row_bytes(const Stored& s, const Weight& w) {
  if (s.part == Stored::kCodes) return int64_t(w.columns) * s.bits / 8;
  if (quantized(s.dtype)) return w.groups() * (2 + kGroup * code_bits(s.dtype) / 8);
  return (s.part == Stored::kElements ? w.columns : w.groups()) * element_bytes(s.dtype);
}
// Packs rows [row, row + count) of a stored row-major matrix into a weight. `row` is a multiple of 16. Elements are rounded as GGUF
// does: the inverse scale is taken before the scale becomes f16.
using PackRows = void (*)(const Weight&, Stored source, const void* src, int64_t row, int64_t count);
// Elementwise to f32.
using ToF32 = void (*)(DType source, const void* src, float* out, int64_t count);

struct KernelTable {
  const char* isa;         // "plain"; "avx2", "avxvnni", "avx512", "vnni"; "neon", "dotprod", "i8mm"; "simd", "relaxed", "dot"
  OpKernel ops[op_count];
  PackRows pack_rows;
  ToF32 to_f32;
  double (*peak_f32)();    // multiply-adds a second of one thread, 2 flops each: what the units can do
  double (*peak_int8)();
};

const KernelTable* kernels_plain();
#if defined(__x86_64__) || defined(_M_X64)
const KernelTable* kernels_avx2();
const KernelTable* kernels_avxvnni();
const KernelTable* kernels_avxvnni_evex();   // the same in AVX-512's encoding: tests it where a CPU has only that
const KernelTable* kernels_avx512();
const KernelTable* kernels_vnni();
#elif defined(__aarch64__) || defined(_M_ARM64)
const KernelTable* kernels_neon();      // what every 64-bit ARM has
const KernelTable* kernels_dotprod();   // sdot (ARMv8.2; all Apple's)
const KernelTable* kernels_i8mm();      // usdot, usmmla (ARMv8.6; Apple's since M2)
#elif defined(__wasm__)
const KernelTable* kernels_simd();      // what every engine with SIMD has
const KernelTable* kernels_relaxed();   // in a module of its own: fused multiply-adds, byte products
const KernelTable* kernels_dot();       // likewise: four byte products to 32 bits, where the engine has an instruction for them
#endif

}  // namespace openelm
