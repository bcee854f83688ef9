// The executor's programs: words to records when a program is compiled, and records made ready for a run. See executor.h.
#include <algorithm>
#include <cstring>
#if defined(__GLIBC__)
#include <malloc.h>
#pragma weak malloc_trim  // a prebuilt addon may find itself on musl
#endif

#include "executor.h"

namespace openelm {

namespace {

constexpr int64_t kArenaUnit = 256;
constexpr size_t element_bytes(DType dtype) { return dtype == kF16 || dtype == kBF16 ? 2 : 4; }
enum OperandKind { kNone, kPersistent, kArena, kParams };

class Words {
 public:
  Words(const int32_t* words, size_t count) : at_(words), end_(words + count) {}
  bool done() const { return at_ == end_; }
  bool has(size_t count) const { return static_cast<size_t>(end_ - at_) >= count; }
  int32_t next() { return *at_++; }

 private:
  const int32_t *at_, *end_;
};

}  // namespace

int32_t Executor::compile(const int32_t* data, size_t count, int64_t arena_bytes, int32_t params, std::string& message) {
  auto made = std::make_unique<Executable>();
  Executable& e = *made;
  e.arena_bytes = arena_bytes;
  e.params.resize(static_cast<size_t>(params));
  e.checked = frees_;
  std::vector<int> first_access;   // of each op, in access_
  for (int op = 0, at = 0; op < op_count; at += kOpSizes[op++].operands) first_access.push_back(at);

  Words words(data, count);
  while (!words.done()) {
    const int32_t index = static_cast<int32_t>(e.records.size());
    const auto wrong = [&](const char* what) {
      message = "record " + std::to_string(index) + ": " + what;
      return 0;
    };
    const int32_t op = words.next();
    if (op < 0 || op >= op_count) return wrong("unknown op");
    const OpSize& size = kOpSizes[op];
    if (!table_.ops[op].run) return wrong("this build has no such op");
    if (!words.has(static_cast<size_t>(size.operands * 4 + size.ints * 2 + size.floats))) return wrong("words are missing");
    Record record{};
    for (int i = 0; i < size.operands; i++) {
      const int32_t kind = words.next(), place = words.next(), offset = words.next(), elements = words.next();
      Operand& operand = record.operands[i];
      operand.elements = elements;
      const int64_t last = int64_t(offset) + elements;
      if (kind == kNone) continue;
      if (offset < 0 || elements < 0 || place < 0) return wrong("a negative size");
      const Access access = access_[static_cast<size_t>(first_access[static_cast<size_t>(op)] + i)];
      if (kind == kPersistent) {
        Buffer* buffer = find(place);
        if (!buffer) return wrong("a buffer that is unknown or freed");
        if (last > buffer->elements) return wrong("a view past the end of its buffer");
        operand.dtype = buffer->dtype;
        if (buffer->is_weight()) {
          if (access != Access::read || offset) return wrong("a weight can only be read as a whole");
          operand.weight = &buffer->weight;
        } else {
          operand.data = buffer->block.data + int64_t(offset) * int64_t(element_bytes(buffer->dtype));
        }
        e.ids.push_back(place);
        if (access != Access::write) e.reads.push_back({buffer, index});
        if (access != Access::read) e.writes.push_back({buffer, index});
      } else if (kind == kArena) {
        operand.dtype = kF32;
        const int64_t at = place * kArenaUnit + int64_t(offset) * 4;
        if (at + int64_t(elements) * 4 > arena_bytes) return wrong("a view past the end of the arena");
        e.places.push_back({index, i, at});
      } else if (kind == kParams) {
        operand.dtype = kI32;
        if (last > params || access != Access::read) return wrong("a view past the end of the params");
        operand.data = e.params.data() + offset;
      } else {
        return wrong("an unknown kind of operand");
      }
    }
    for (int i = 0; i < size.ints; i++) {
      record.ints[i] = words.next();
      const int32_t param = words.next();
      if (record.ints[i] < 0 || param < -1 || param >= params) return wrong("a size out of range");
      if (param >= 0) e.dynamics.push_back({index, i, param, record.ints[i]});
    }
    for (int i = 0; i < size.floats; i++) {
      const int32_t bits = words.next();
      std::memcpy(&record.floats[i], &bits, 4);
    }
    const OpKernel& kernel = table_.ops[op];
    if (kernel.scratch) e.scratch_bytes = std::max(e.scratch_bytes, static_cast<int64_t>(kernel.scratch(record)));
    e.ops.push_back(op);
    e.records.push_back(record);
    const int stages = kernel.stages * (kernel.repeats ? kernel.repeats(record) : 1);
    for (int stage = 0; stage < stages; stage++) e.steps.push_back({index, stage});
  }
  e.chunks.resize(e.steps.size());
  const int32_t id = ++last_executable_;
  executables_[id] = made.release();
  measure_living();
  return id;
}

void Executor::forget(int32_t id) {
  const auto found = executables_.find(id);
  if (found == executables_.end()) return;
  Task* task = new Task(Task::kForget);
  task->executable = found->second;
  executables_.erase(found);
  measure_living();
  push(task);
}

void Executor::measure_living() {
  arena_bytes_ = scratch_bytes_ = 0;
  for (const auto& [id, e] : executables_) {
    arena_bytes_ = std::max(arena_bytes_, e->arena_bytes);
    scratch_bytes_ = std::max(scratch_bytes_, e->scratch_bytes);
  }
}

bool Executor::runnable(int32_t id, size_t params) {
  const auto found = executables_.find(id);
  if (found == executables_.end() || found->second->params.size() != params) return false;
  Executable& e = *found->second;
  if (e.checked == frees_) return true;
  for (const int32_t buffer : e.ids) {
    if (!find(buffer)) return false;
  }
  e.checked = frees_;
  return true;
}

void Executor::submit(int32_t id, Task* task) {
  task->executable = executables_.at(id);
  task->arena_bytes = arena_bytes_;
  task->scratch_bytes = scratch_bytes_;
  push(task);
}

// From here on: the executor's thread.

bool Executor::grow(Block& block, int64_t need, int64_t want) {
  const int64_t have = static_cast<int64_t>(block.bytes);
  if (have >= need && have / 4 <= want) return true;
  memory_.release(block);
  places_++;
#if defined(__GLIBC__)
  if (malloc_trim) malloc_trim(0);   // what copies of queued writes left behind, a tenth of a gigabyte after a model was written
#endif
  return need == 0 || memory_.allocate(static_cast<size_t>(std::max(need, want)), block);
}

bool Executor::place(Executable& e, const Task& task) {
  if (!grow(arena_, e.arena_bytes, task.arena_bytes) || !grow(scratch_, e.scratch_bytes, task.scratch_bytes)) return false;
  if (e.placed == places_) return true;
  for (const Executable::Place& p : e.places) {
    e.records[static_cast<size_t>(p.record)].operands[p.operand].data = arena_.data + p.offset;
  }
  for (Record& record : e.records) record.scratch = scratch_.data;
  e.placed = places_;
  return true;
}

// Params, dynamic sizes, places and chunks of this run.
int Executor::resolve(Task& task) {
  Executable& e = *task.executable;
  for (const Executable::Use& use : e.reads) {
    if (use.buffer->stamp > task.acknowledged) {
      task.op_index = use.record;
      return kPoisoned;
    }
  }
  std::copy(task.params.begin(), task.params.end(), e.params.begin());
  for (const Executable::Dynamic& d : e.dynamics) {
    const int32_t value = e.params[static_cast<size_t>(d.param)];
    if (value < 0 || value > d.max) {
      task.op_index = d.record;
      return kSizeOutOfRange;
    }
    e.records[static_cast<size_t>(d.record)].ints[d.index] = value;
  }
  if (!place(e, task)) return kOutOfMemory;
  for (size_t i = 0; i < e.steps.size(); i++) {
    const auto [record, stage] = e.steps[i];
    const size_t r = static_cast<size_t>(record);
    e.chunks[i] = table_.ops[e.ops[r]].chunks(e.records[r], stage);
    if (e.chunks[i] < 0 || e.chunks[i] > Pool::kMaxChunks) {
      task.op_index = record;
      return kSizeOutOfRange;
    }
  }
  return kOk;
}

void Executor::run(Task& task) {
  struct Records final : Work {
    Records(const KernelTable& table, const Executable& e) : table(table), e(e) {}
    int run(int step, int chunk, int chunks, int) override {
      const auto [record, stage] = e.steps[static_cast<size_t>(step)];
      const size_t r = static_cast<size_t>(record);
      return table.ops[e.ops[r]].run(e.records[r], stage, chunk, chunks);
    }
    const KernelTable& table;
    const Executable& e;
  };
  Executable& e = *task.executable;
  task.code = resolve(task);
  if (task.code == kOk) {
    Records work(table_, e);
    const Pool::Result result = pool_.run(work, e.chunks.data(), static_cast<int>(e.steps.size()), task.cancel);
    task.code = result.code;
    if (result.code) task.op_index = e.steps[static_cast<size_t>(result.step)].record;
  }
  if (task.code == kOk) return;
  task.failure = ++failures_;
  for (const Executable::Use& use : e.writes) use.buffer->stamp = task.failure;
}

}  // namespace openelm
