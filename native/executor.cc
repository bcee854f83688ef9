// The executor's queue and its uploads. See executor.h; runs of programs are in runs.cc.
#include "executor.h"

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "system.h"

namespace openelm {

namespace {

constexpr int64_t kPieceBytes = 256 << 10;      // read at once: fits the second-level cache
constexpr int64_t kChunkBytes = 1 << 20;        // of a destination: threads fault in pages of their own
constexpr int64_t kBatchBytes = 64 << 20;

// Uploads that wait together are one step: threads go from one tensor to the next without meeting.
struct Part {
  Task* task;
  int file;               // -1: the rows are in memory
  int64_t row_bytes;      // stored
  int64_t chunk_rows;
  int first_chunk;
};

class Upload final : public Work {
 public:
  Upload(const KernelTable& table, std::vector<std::vector<uint8_t>>& pieces, const std::atomic<bool>& cancel)
      : table_(table), pieces_(pieces), cancel_(cancel) {}

  void add(Task* task, int file) {
    const Buffer& buffer = *task->buffer;
    const int64_t row_bytes = buffer.stored_bytes(task->source, 1);
    const int64_t step = buffer.is_weight() ? kPanel : 1;
    const int64_t made = buffer.is_weight() ? std::max<int64_t>(1, weight_bytes(buffer.dtype, kPanel, buffer.weight.columns)) : 4;
    const int64_t chunk_rows = std::max<int64_t>(1, kChunkBytes / made) * step;
    parts_.push_back({task, file, row_bytes, chunk_rows, chunks_});
    chunks_ += static_cast<int>((task->rows + chunk_rows - 1) / chunk_rows);
  }
  int chunks() const { return chunks_; }

  int run(int, int chunk, int, int thread) override {
    if (cancel_.load(std::memory_order_relaxed)) return kCancelled;
    const auto after = std::upper_bound(parts_.begin(), parts_.end(), chunk,
                                        [](int c, const Part& part) { return c < part.first_chunk; });
    Part& part = *(after - 1);
    const int64_t from = (chunk - part.first_chunk) * part.chunk_rows;
    const int64_t to = std::min(from + part.chunk_rows, part.task->rows);
    const int64_t step = part.task->buffer->is_weight() ? kPanel : 1;
    const int64_t piece_rows = std::max<int64_t>(1, kPieceBytes / (part.row_bytes * step)) * step;
    for (int64_t row = from; row < to; row += piece_rows) {
      if (!convert(part, row, std::min(piece_rows, to - row), thread)) break;
    }
    return kOk;   // one cut file does not end the others' uploads
  }

 private:
  bool convert(Part& part, int64_t row, int64_t count, int thread) {
    Task& task = *part.task;
    const size_t bytes = static_cast<size_t>(count * part.row_bytes);
    const uint8_t* from = task.data ? task.data + row * part.row_bytes : nullptr;
    if (!from || reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(element_bytes(task.source.dtype))) {
      std::vector<uint8_t>& piece = pieces_[static_cast<size_t>(thread)];
      try {
        if (piece.size() < bytes) piece.resize(bytes);
      } catch (const std::bad_alloc&) {
        return fail(part, kOutOfMemory, 0);
      }
      if (from) std::memcpy(piece.data(), from, bytes);
      else if (!read_file(part, piece.data(), bytes, task.offset + row * part.row_bytes)) return false;
      from = piece.data();
    }
    if (task.buffer->is_weight()) table_.pack_rows(task.buffer->weight, task.source, from, task.row + row, count);
    else table_.to_f32(task.source.dtype, from, reinterpret_cast<float*>(task.buffer->data) + task.row + row, count);
    return true;
  }

  bool read_file(Part& part, uint8_t* to, size_t bytes, int64_t offset) {
    while (bytes) {
      const int64_t got = read_at(part.file, to, bytes, offset);
      if (got <= 0) {
        return got == 0 ? fail(part, kFileCut, 0) : fail(part, kFileUnreadable, errno);
      }
      to += got;
      offset += got;
      bytes -= static_cast<size_t>(got);
    }
    return true;
  }

  bool fail(Part& part, int code, int error_number) {
    Lock lock(failures_);
    part.task->code = code;
    part.task->error_number = error_number;
    return false;
  }

  const KernelTable& table_;
  std::vector<std::vector<uint8_t>>& pieces_;
  const std::atomic<bool>& cancel_;
  std::vector<Part> parts_;
  int chunks_ = 0;
  Mutex failures_;
};

}  // namespace

Executor::Executor(const KernelTable& table, int threads, std::vector<Access> access, Finished finished, void* door)
    : table_(table), access_(std::move(access)), finished_(finished), door_(door), pool_(threads) {
  pieces_.resize(static_cast<size_t>(threads));
  thread_ = Thread([this] { loop(); });
}

Executor::~Executor() { stop(); }

std::atomic<int32_t> Executor::last_id_{0};

int32_t Executor::keep(Buffer* buffer) {
  const int32_t id = ++last_id_;
  buffers_[id] = buffer;
  return id;
}

int32_t Executor::create(DType dtype, int64_t elements) {
  auto buffer = std::make_unique<Buffer>();
  buffer->dtype = dtype;
  buffer->elements = elements;
  if (!memory_.allocate(static_cast<uint64_t>(elements * element_bytes(dtype)), buffer->block)) return 0;
  buffer->data = buffer->block.data;
  return keep(buffer.release());
}

int32_t Executor::create_weight(DType dtype, int32_t rows, int32_t columns, int32_t group) {
  auto buffer = std::make_unique<Buffer>();
  Weight& weight = buffer->weight;
  weight = {dtype, rows, columns, nullptr, nullptr, nullptr, group};
  const auto aligned = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
  const int64_t data = aligned(weight_bytes(dtype, rows, columns)), scales = aligned(scale_bytes(weight));
  if (!memory_.allocate(static_cast<uint64_t>(data + scales * (affine(dtype) ? 2 : 1)), buffer->block)) return 0;
  buffer->dtype = dtype;
  buffer->elements = int64_t(rows) * columns;
  buffer->data = buffer->block.data;
  weight.data = buffer->data;
  if (quantized(dtype)) weight.scales = reinterpret_cast<uint16_t*>(buffer->data + data);
  if (affine(dtype)) weight.minimums = reinterpret_cast<uint16_t*>(buffer->data + data + scales);
  return keep(buffer.release());
}

Buffer* Executor::find(int32_t id) const {
  const auto found = buffers_.find(id);
  return found == buffers_.end() ? nullptr : found->second;
}

void Executor::free(int32_t id) {
  Buffer* buffer = find(id);
  if (!buffer) return;
  buffers_.erase(id);
  frees_++;
  Task* task = new Task(Task::kFree);
  task->buffer = buffer;
  push(task);
}

void Executor::push(Task* task) {
  task->acknowledged = acknowledged_;
  {
    Lock lock(mutex_);
    queue_.push_back(task);
    queued_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_one();
}

void Executor::close(Task* task) {
  closing_ = true;
  push(task);
}

void Executor::stop() {
  if (!thread_.joinable()) return;
  const bool closed = closing_.exchange(true);
  {
    Lock lock(mutex_);
    if (running_) running_->cancel = true;
  }
  if (!closed) push(new Task(Task::kClose));
  thread_.join();
}

// From here on: the executor's thread.

Task* Executor::next() {
  const auto ready = [this] { return queued_.load(std::memory_order_acquire) > 0; };
  spin_until(ready);
  Lock lock(mutex_);
  wake_.wait(lock, ready);
  queued_.fetch_sub(1, std::memory_order_relaxed);
  running_ = queue_.front();
  queue_.pop_front();
  return running_;
}

// The task at the front, if it is an upload.
Task* Executor::next_upload() {
  Lock lock(mutex_);
  if (closing_ || queue_.empty() || queue_.front()->kind != Task::kUpload) return nullptr;
  Task* task = queue_.front();
  queued_.fetch_sub(1, std::memory_order_relaxed);
  queue_.pop_front();
  return task;
}

void Executor::loop() {
  lower_priority();
  for (;;) {
    Task* task = next();
    const bool last = task->kind == Task::kClose;
    perform(task);
    if (last) return;
  }
}

int Executor::pump() {
  if (queued_.load(std::memory_order_acquire)) perform(next());
  return queued_.load(std::memory_order_acquire);
}

void Executor::perform(Task* task) {
  if (closing_ && task->notify && task->kind != Task::kClose) {
    task->code = kCancelled;
    return end(task);
  }
  Buffer* buffer = task->buffer;
  switch (task->kind) {
    case Task::kRun: run(*task); break;
    case Task::kWrite: {
      if (task->bytes > 0) std::memcpy(buffer->data + task->offset, task->copy.get(), task->bytes);   // an empty one has no address
      if (static_cast<int64_t>(task->bytes) == buffer->elements * element_bytes(buffer->dtype)) buffer->stamp = 0;
      break;
    }
    case Task::kRead:
      if (buffer->stamp > task->acknowledged) task->code = kPoisoned;
      else if (task->bytes > 0) std::memcpy(task->data, buffer->data + task->offset, task->bytes);
      break;
    case Task::kUpload: return upload(task);
    case Task::kFree: release(buffer); break;
    case Task::kForget: delete task->executable; break;
    case Task::kMeasure:
      task->numbers = measure_roofline(table_, task->threads, task->cancel);
      if (task->numbers.empty()) task->code = kOutOfMemory;
      break;
    case Task::kClose: release_all(); break;
  }
  end(task);
}

void Executor::upload(Task* first) {
  Upload work(table_, pieces_, first->cancel);
  std::vector<Task*> tasks;
  int64_t bytes = 0;
  for (Task* task = first; task; task = bytes < kBatchBytes ? next_upload() : nullptr) {
    tasks.push_back(task);
    bytes += static_cast<int64_t>(task->buffer->block.bytes);
    const int file = task->data ? -1 : file_of(*task);
    if (task->code == kOk) work.add(task, file);
  }
  int32_t chunks = work.chunks();
  const Pool::Result result = pool_.run(work, &chunks, 1, first->cancel);
  {
    Lock lock(mutex_);
    running_ = nullptr;   // it goes back to the door below
    if (queue_.empty() || queue_.front()->kind != Task::kUpload) close_files();
  }
  for (Task* task : tasks) {
    if (task->code == kOk) task->code = result.code;
    end(task);
  }
}

int Executor::file_of(Task& task) {
  const auto found = files_.find(task.file);
  if (found != files_.end()) return found->second;
  const int file = open_file(task.file.c_str());
  if (file >= 0) return files_[task.file] = file;
  task.code = kFileUnreadable;
  task.error_number = errno;
  return -1;
}

void Executor::close_files() {
  for (const auto& [path, file] : files_) close_file(file);
  files_.clear();
  for (std::vector<uint8_t>& piece : pieces_) std::vector<uint8_t>().swap(piece);
}

void Executor::end(Task* task) {
  {
    Lock lock(mutex_);
    running_ = nullptr;
  }
  if (task->notify) finished_(door_, task);
  else delete task;
}

void Executor::release(Buffer* buffer) {
  memory_.release(buffer->block);
  delete buffer;
}

void Executor::release_all() {
  for (const auto& [id, buffer] : buffers_) release(buffer);
  for (const auto& [id, executable] : executables_) delete executable;
  buffers_.clear();
  executables_.clear();
  memory_.release(arena_);
  memory_.release(scratch_);
  close_files();
}

}  // namespace openelm
