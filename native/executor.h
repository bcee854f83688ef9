// Executes programs on threads of its own: one queue, in order, of runs, writes, reads, uploads and frees. Plain C++ (no
// Node, no JavaScript): a door puts tasks in and is told when they are finished. Everything public is called on the door's
// thread, which never computes; `finished` is called on the executor's thread.
#pragma once
#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/kernels.h"
#include "memory.h"
#include "pool.h"
#include "program.h"
#include "threads.h"

namespace openelm {

// Codes of this side only, beside those of kernels.h.
enum : int { kFileCut = 100, kFileUnreadable };

struct Buffer final : Storage {
  Block block;
  uint64_t stamp = 0;   // the last failure that left it unwritten or half written

  // Whether rows that are stored so can become these.
  bool takes(const Stored& stored, int64_t row, int64_t rows) const {
    if (row < 0 || rows < 1 || row + rows > (is_weight() ? weight.rows : elements)) return false;
    if (!is_weight()) return dtype == kF32 && stored.part == Stored::kElements;
    if (quantized(stored.dtype))   // whole blocks, and of that type
      return stored.part == Stored::kElements && stored.dtype == dtype && row % kPanel == 0 && weight.columns % kGroup == 0;
    if (row % kPanel != 0 || affine(dtype) != (stored.part != Stored::kElements)) return false;
    return stored.part != Stored::kCodes || (stored.bits <= code_bits(dtype) && stored.bits != 7);
  }
  int64_t stored_bytes(const Stored& stored, int64_t rows) const {
    return rows * (is_weight() ? row_bytes(stored, weight) : element_bytes(stored.dtype));
  }
};

// A program, and what it was last checked and placed for.
struct Executable {
  std::unique_ptr<Program> program;
  uint64_t placed, checked;
};

struct Task {
  enum Kind { kRun, kWrite, kRead, kUpload, kFree, kForget, kMeasure, kClose };
  explicit Task(Kind kind) : kind(kind) {}
  virtual ~Task() = default;
  const Kind kind;
  bool notify = false;                // whether the door wants to know when it is finished

  Executable* executable = nullptr;   // run, forget
  std::vector<int32_t> params;        // run
  int64_t arena_bytes = 0, scratch_bytes = 0;   // run: what any living executable needs at most
  std::atomic<bool> cancel{false};    // run, upload, measure
  Buffer* buffer = nullptr;           // all but run and forget
  int64_t offset = 0;                 // write, read: in bytes
  size_t bytes = 0;
  uint8_t* data = nullptr;            // read: where to; upload: the rows, unless there is a file
  std::unique_ptr<uint8_t[]> copy;    // write
  std::string file;                   // upload: read from here, at `offset`
  Stored source;                      // upload: what its rows are
  int64_t row = 0, rows = 0;          // upload: which rows (elements of a rows buffer)
  int threads = 0;                    // measure
  uint64_t acknowledged = 0;          // the last failure known when this was queued

  int code = kOk, op_index = -1, error_number = 0;
  uint64_t failure = 0;               // the serial number of this failure
  std::vector<double> numbers;        // measure
};

class Executor {
 public:
  using Finished = void (*)(void* door, Task* task);   // owns the task from then on
  Executor(const KernelTable& table, int threads, std::vector<Access> access, Finished finished, void* door);   // throws
  ~Executor();

  // Ids of buffers count on from here; of all executors that share this code one after the other.
  static void count_ids_from(int32_t id) { last_id_ = id; }
  int32_t create(DType dtype, int64_t elements);                         // 0: out of memory
  int32_t create_weight(DType dtype, int32_t rows, int32_t columns, int32_t group);   // likewise
  Buffer* find(int32_t id) const;
  void free(int32_t id);
  // The words of plan.ts. 0: the message says what is wrong with them.
  int32_t compile(const int32_t* words, size_t count, int64_t arena_bytes, int32_t params, std::string& message);
  void forget(int32_t executable);
  // Whether the executable and all its buffers are there still, and that is the length of its params.
  bool runnable(int32_t executable, size_t params);
  void submit(int32_t executable, Task* task);   // one that is runnable
  void push(Task* task);
  void acknowledge(const Task& task) { if (task.failure > acknowledged_) acknowledged_ = task.failure; }
  // Queues the end: what waits finishes with kCancelled, then everything is freed and `task` finishes.
  void close(Task* task);
  // Ends as soon as the chunks under way are done, and waits for it.
  void stop();
  // Where there are no threads: performs one task on this thread; the number of those left.
  int pump();
  size_t memory_bytes() { return memory_.held(); }
  const KernelTable& table() const { return table_; }

 private:
  int32_t keep(Buffer* buffer);
  void measure_living();
  void loop();
  Task* next();
  Task* next_upload();
  void perform(Task* task);
  void run(Task& task);
  int resolve(Task& task);
  bool place(Executable& executable, const Task& task);
  bool grow(Block& block, int64_t need, int64_t want);
  void upload(Task* first);
  int file_of(Task& task);
  void close_files();
  void end(Task* task);
  void release(Buffer* buffer);
  void release_all();

  const KernelTable& table_;
  const std::vector<Access> access_;
  const Finished finished_;
  void* const door_;
  Memory memory_;
  Pool pool_;

  // The door's thread.
  static std::atomic<int32_t> last_id_;   // one count for all: an id of another backend is unknown here
  std::unordered_map<int32_t, Buffer*> buffers_;
  std::unordered_map<int32_t, Executable*> executables_;
  int32_t last_executable_ = 0;
  int64_t arena_bytes_ = 0, scratch_bytes_ = 0;   // the most that a living executable needs
  uint64_t frees_ = 0, acknowledged_ = 0;

  // Both.
  Mutex mutex_;
  Condition wake_;
  std::deque<Task*> queue_;
  Task* running_ = nullptr;
  std::atomic<int> queued_{0};
  std::atomic<bool> closing_{false};

  // The executor's thread.
  Block arena_, scratch_;
  uint64_t places_ = 0, failures_ = 0;
  std::unordered_map<std::string, int> files_;
  std::vector<std::vector<uint8_t>> pieces_;   // one a thread
  Thread thread_;
};

// Bytes a second read by 1 .. threads threads, then table.peak_f32 and peak_int8. Empty: out of memory.
std::vector<double> measure_roofline(const KernelTable& table, int threads, const std::atomic<bool>& cancel);

}  // namespace openelm
