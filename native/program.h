// A program: records read from the words that plan.ts writes, made ready for each run and computed chunk by chunk. Plain C++ without
// threads, a queue or memory of its own: who runs it brings them (executor.h for the Node door).
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace openelm {

// What records see of a persistent buffer. Whose memory it is, is not known here.
struct Storage {
  DType dtype;
  int64_t elements;
  uint8_t* data = nullptr;
  Weight weight = {};      // its data is null in a rows buffer
  bool is_weight() const { return weight.data != nullptr; }
};

enum class Access : uint8_t { read, write, readwrite };

class Program {
 public:
  struct Use { Storage* buffer; int32_t record; };
  using Find = std::function<Storage*(int32_t id)>;

  // `access`: of each operand of each op, in the op table's order. Null: the message says what is wrong with the words.
  static std::unique_ptr<Program> read(const KernelTable& table, const std::vector<Access>& access, const int32_t* words, size_t count,
                                       int64_t arena_bytes, size_t params, const Find& find, std::string& message);

  int64_t arena_bytes() const { return arena_bytes_; }
  int64_t scratch_bytes() const { return scratch_bytes_; }
  size_t params() const { return params_.size(); }
  // Persistent buffers: their ids, and the records that read and write them.
  const std::vector<int32_t>& ids() const { return ids_; }
  const std::vector<Use>& reads() const { return reads_; }
  const std::vector<Use>& writes() const { return writes_; }

  // Before a run, in this order; the Code of what cannot be, with its record. The memory must be as large as said above.
  int set_params(const int32_t* params, int32_t& record);
  void place(uint8_t* arena, uint8_t* scratch);
  int count_chunks(int32_t& record);

  // A run: all chunks of a step, on any threads, before any of the next.
  int steps() const { return static_cast<int>(steps_.size()); }
  const int32_t* chunks() const { return chunks_.data(); }
  int32_t record_of(int step) const { return steps_[static_cast<size_t>(step)].record; }
  int run(int step, int chunk, int chunks) const {
    const Step at = steps_[static_cast<size_t>(step)];
    return kernel(at.record).run(records_[static_cast<size_t>(at.record)], at.stage, chunk, chunks);
  }

  static constexpr int kMaxChunks = (1 << 24) - 1;

 private:
  struct Step { int32_t record, stage; };
  struct Place { int32_t record, operand; int64_t offset; };
  struct Dynamic { int32_t record, index, param, max; };

  explicit Program(const KernelTable& table) : table_(table) {}
  const OpKernel& kernel(int32_t record) const { return table_.ops[ops_[static_cast<size_t>(record)]]; }

  const KernelTable& table_;
  std::vector<int32_t> ops_, ids_;
  std::vector<Record> records_;
  std::vector<Place> places_;        // operands in the arena
  std::vector<Dynamic> dynamics_;    // sizes that come from the params
  std::vector<Use> reads_, writes_;
  std::vector<Step> steps_;
  std::vector<int32_t> chunks_, params_;
  int64_t arena_bytes_ = 0, scratch_bytes_ = 0;
};

}  // namespace openelm
