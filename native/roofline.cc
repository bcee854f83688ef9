// What the machine can do at most: bytes a second read from memory by 1 .. n threads, and the units' peaks. The bench divides
// by these. Not a benchmark of any op.
#include <algorithm>
#include <chrono>

#include "executor.h"

namespace openelm {

namespace {

constexpr int64_t kBytes = int64_t(256) << 20;
constexpr int64_t kChunk = int64_t(1) << 20;
constexpr int kTries = 9;

typedef uint64_t Lanes __attribute__((vector_size(64)));

// Four streams at once, each its own quarter of the chunk.
class Sum final : public Work {
 public:
  explicit Sum(uint8_t* data) : data_(data) {}
  int run(int, int chunk, int, int) override {
    const Lanes* at = reinterpret_cast<const Lanes*>(data_ + chunk * kChunk);
    constexpr int64_t n = kChunk / 4 / static_cast<int64_t>(sizeof(Lanes));
    Lanes a{}, b{}, c{}, d{};
    for (int64_t i = 0; i < n; i++) {
      a += at[i];
      b += at[n + i];
      c += at[2 * n + i];
      d += at[3 * n + i];
    }
    a += b + c + d;
    sum.fetch_add(a[0] + a[1] + a[2] + a[3], std::memory_order_relaxed);
    return kOk;
  }
  std::atomic<uint64_t> sum{0};   // keeps the loop from being dropped

 private:
  uint8_t* data_;
};

class Fill final : public Work {
 public:
  explicit Fill(uint8_t* data) : data_(data) {}
  int run(int, int chunk, int, int) override {
    std::fill_n(data_ + chunk * kChunk, kChunk, static_cast<uint8_t>(chunk + 1));
    return kOk;
  }

 private:
  uint8_t* data_;
};

}  // namespace

std::vector<double> measure_roofline(const KernelTable& table, int threads, const std::atomic<bool>& cancel) {
  Memory memory;
  Block block;
  std::vector<double> rates;
  if (!memory.allocate(kBytes, block)) return rates;
  const int32_t chunks = kBytes / kChunk;
  try {
    for (int n = 1; n <= threads; n++) {
      Pool pool(n);
      Fill fill(block.data);
      if (n == 1) pool.run(fill, &chunks, 1, cancel);
      double best = 0;
      for (int i = 0; i < kTries; i++) {
        Sum sum(block.data);
        const auto start = std::chrono::steady_clock::now();
        pool.run(sum, &chunks, 1, cancel);
        const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        best = std::max(best, static_cast<double>(kBytes) / seconds);
      }
      rates.push_back(best);
    }
    rates.push_back(table.peak_f32 ? table.peak_f32() : 0);
    rates.push_back(table.peak_int8 ? table.peak_int8() : 0);
  } catch (...) {
    rates.clear();   // no thread to be had
  }
  memory.release(block);
  return rates;
}

}  // namespace openelm
