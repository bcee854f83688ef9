// The executor's programs: read, kept while they are wanted, given memory, and run on the pool. See executor.h.
#include <algorithm>
#if defined(__GLIBC__)
#include <malloc.h>
#pragma weak malloc_trim  // a prebuilt addon may find itself on musl
#endif

#include "executor.h"

namespace openelm {

static_assert(Program::kMaxChunks <= Pool::kMaxChunks, "a step has more chunks than the pool can count");

int32_t Executor::compile(const int32_t* words, size_t count, int64_t arena_bytes, int32_t params, std::string& message) {
  const auto found = [this](int32_t id) -> Storage* { return find(id); };
  std::unique_ptr<Program> program =
      Program::read(table_, access_, words, count, arena_bytes, static_cast<size_t>(params), found, message);
  if (!program) return 0;
  const int32_t id = ++last_executable_;
  executables_[id] = new Executable{std::move(program), 0, frees_};
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
    arena_bytes_ = std::max(arena_bytes_, e->program->arena_bytes());
    scratch_bytes_ = std::max(scratch_bytes_, e->program->scratch_bytes());
  }
}

bool Executor::runnable(int32_t id, size_t params) {
  const auto found = executables_.find(id);
  if (found == executables_.end() || found->second->program->params() != params) return false;
  Executable& e = *found->second;
  if (e.checked == frees_) return true;
  for (const int32_t buffer : e.program->ids()) {
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
  return need == 0 || memory_.allocate(static_cast<uint64_t>(std::max(need, want)), block);
}

bool Executor::place(Executable& e, const Task& task) {
  Program& program = *e.program;
  if (!grow(arena_, program.arena_bytes(), task.arena_bytes)) return false;
  if (!grow(scratch_, program.scratch_bytes(), task.scratch_bytes)) return false;
  if (e.placed == places_) return true;
  program.place(arena_.data, scratch_.data);
  e.placed = places_;
  return true;
}

// Params, memory and chunks of this run.
int Executor::resolve(Task& task) {
  Program& program = *task.executable->program;
  for (const Program::Use& use : program.reads()) {
    if (static_cast<Buffer*>(use.buffer)->stamp > task.acknowledged) {
      task.op_index = use.record;
      return kPoisoned;
    }
  }
  if (const int code = program.set_params(task.params.data(), task.op_index)) return code;
  if (!place(*task.executable, task)) return kOutOfMemory;
  return program.count_chunks(task.op_index);
}

void Executor::run(Task& task) {
  struct Records final : Work {
    explicit Records(const Program& program) : program(program) {}
    int run(int step, int chunk, int chunks, int) override { return program.run(step, chunk, chunks); }
    const Program& program;
  };
  const Program& program = *task.executable->program;
  task.code = resolve(task);
  if (task.code == kOk) {
    Records work(program);
    const Pool::Result result = pool_.run(work, program.chunks(), program.steps(), task.cancel);
    task.code = result.code;
    if (result.code) task.op_index = program.record_of(result.step);
  }
  if (task.code == kOk) return;
  task.failure = ++failures_;
  for (const Program::Use& use : program.writes()) static_cast<Buffer*>(use.buffer)->stamp = task.failure;
}

}  // namespace openelm
