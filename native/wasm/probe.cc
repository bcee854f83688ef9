// Whether a table's int8 products are right, and how fast: engines differ in relaxed dot products, and one has been seen that
// computes them wrong. A linear of known codes at the ends of their ranges, whose sums are whole numbers.
#include <vector>

#include "door.h"

namespace openelm {

namespace {

constexpr int kRows = 20, kInputs = 512, kOutputs = 32;   // enough rows for the tiles of many

// Codes of weight and row that meet at the ends now and then; the first of a row's group is 127, which makes its scale 1.
int weight_code(int output, int k, int low, int high) {
  const uint32_t n = static_cast<uint32_t>(output * 2654435761u + static_cast<uint32_t>(k) * 40503u) >> 7;
  if (n % 5 == 0) return low;
  if (n % 5 == 1) return high;
  return low + static_cast<int>(n % static_cast<uint32_t>(high - low + 1));
}
int row_code(int row, int k) { return k % kGroup == 0 ? 127 : weight_code(row + 77, k, -127, 127); }

}  // namespace

double probe(const KernelTable& table, double (*now)()) {
  const OpKernel& linear = table.ops[op_linear];
  double slowest = 0;
  for (const DType dtype : {kQ8, kQ4}) {
    const int low = dtype == kQ8 ? -127 : -8, high = dtype == kQ8 ? 127 : 7, zero = dtype == kQ8 ? 128 : 8;
    std::vector<uint8_t> data(static_cast<size_t>(weight_bytes(dtype, kOutputs, kInputs)) + 64);
    std::vector<uint16_t> scales(kOutputs * kInputs / kGroup, 0x3c00);   // 1
    for (int output = 0; output < kOutputs; output++)
      for (int k = 0; k < kInputs; k++) {
        const int code = weight_code(output, k, low, high) + zero, panel = output / kPanel, lane = output % kPanel;
        const size_t step = static_cast<size_t>(panel * kInputs / 4 + k / 4), at = static_cast<size_t>(lane * 4 + k % 4);
        if (dtype == kQ8) data[step * 64 + at] = static_cast<uint8_t>(code);
        else data[step / 2 * 64 + at] |= static_cast<uint8_t>(step % 2 ? code << 4 : code);
      }
    const Weight weight = {dtype, kOutputs, kInputs, data.data(), scales.data(), nullptr, kGroup};
    std::vector<float> x(kRows * kInputs), out(kRows * kOutputs);
    for (int row = 0; row < kRows; row++)
      for (int k = 0; k < kInputs; k++) x[static_cast<size_t>(row * kInputs + k)] = static_cast<float>(row_code(row, k));
    for (const int rows : {kRows, 4, 1}) {
      Record record{};
      record.operands[linear_op::x_] = {x.data(), nullptr, kF32, rows * kInputs};
      record.operands[linear_op::weight_] = {nullptr, &weight, dtype, kOutputs * kInputs};
      record.operands[linear_op::out_] = {out.data(), nullptr, kF32, rows * kOutputs};
      record.ints[linear_op::i_rows_] = rows;
      record.ints[linear_op::i_inputs_] = kInputs;
      record.ints[linear_op::i_outputs_] = kOutputs;
      record.ints[linear_op::i_int8_] = 1;
      std::vector<uint8_t> scratch(linear.scratch(record) + 64);
      record.scratch = reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64);
      const auto run = [&] {
        for (int stage = 0; stage < linear.stages; stage++) {
          const int chunks = linear.chunks(record, stage);
          for (int chunk = 0; chunk < chunks; chunk++) linear.run(record, stage, chunk, chunks);
        }
      };
      run();
      for (int row = 0; row < rows; row++)
        for (int output = 0; output < kOutputs; output++) {
          int32_t sum = 0;
          for (int k = 0; k < kInputs; k++) sum += row_code(row, k) * weight_code(output, k, low, high);
          if (out[static_cast<size_t>(row * kOutputs + output)] != static_cast<float>(sum)) return -1;
        }
      if (rows < kRows) continue;
      double best = 1e9;
      const double end = now() + 1;
      for (double before = now(); before < end; before = now()) {
        run();
        const double time = now() - before;
        if (time < best) best = time;
      }
      slowest += best;
    }
  }
  return slowest;
}

}  // namespace openelm
