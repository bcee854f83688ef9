// The WASM door: what node.cc is to Node. Functions for src/backends/wasm.ts, on the thread that made the backend, which checks
// what it passes; `finished` is told to the host on the executor's thread. Where there are no threads, pump() performs what is queued.
#include "door.h"

#include <string>

#include "../executor.h"

#define EXPORT(name) extern "C" __attribute__((export_name(#name)))
#define HOST(name) extern "C" __attribute__((import_module("host"), import_name(#name)))

HOST(finished) void host_finished(openelm::Task* task);
HOST(now) double host_now();

namespace openelm {

namespace {

const KernelTable* table_of(int isa) {
#if defined(__wasm_relaxed_simd__)
  return isa == 2 ? kernels_dot() : kernels_relaxed();
#else
  (void)isa;
  return kernels_simd();
#endif
}

void finished(void*, Task* task) { host_finished(task); }

bool in_range(const Buffer& buffer, double offset, uint32_t bytes) {
  const double all = static_cast<double>(buffer.elements * element_bytes(buffer.dtype));
  return !buffer.is_weight() && offset >= 0 && offset + bytes <= all;
}

Task* notifying(Task::Kind kind) {
  Task* task = new Task(kind);
  task->notify = true;
  return task;
}

std::string message;

}  // namespace

EXPORT(abi_hash) const char* abi_hash() { return kAbiHash; }
EXPORT(probe) double probe_isa(int isa) { return probe(*table_of(isa), host_now); }

EXPORT(thread_run) void thread_run(ThreadEntry* entry) { entry->run(); }

// access: of every operand in the op table's order; ids: where those of buffers begin
EXPORT(create) Executor* create(int isa, int threads, const uint8_t* access, int length, int32_t ids) {
  Executor::count_ids_from(ids);
  std::vector<Access> list;
  for (int i = 0; i < length; i++) list.push_back(static_cast<Access>(access[i]));
  return new Executor(*table_of(isa), threads, std::move(list), finished, nullptr);
}
EXPORT(pump) int pump(Executor* e) { return e->pump(); }

EXPORT(allocate) int32_t allocate(Executor* e, int dtype, int32_t elements) { return e->create(static_cast<DType>(dtype), elements); }
EXPORT(allocate_weight) int32_t allocate_weight(Executor* e, int dtype, int32_t rows, int32_t columns, int32_t group) {
  return e->create_weight(static_cast<DType>(dtype), rows, columns, group);
}
EXPORT(free_buffer) void free_buffer(Executor* e, int32_t id) { e->free(id); }

// The data become the task's. 0: refused.
EXPORT(write) int write_buffer(Executor* e, int32_t id, double offset, uint8_t* data, uint32_t bytes) {
  Buffer* buffer = e->find(id);
  if (!buffer || !in_range(*buffer, offset, bytes)) return 0;
  Task* task = new Task(Task::kWrite);
  task->buffer = buffer;
  task->offset = static_cast<int64_t>(offset);
  task->bytes = bytes;
  task->copy.reset(data);
  e->push(task);
  return 1;
}

EXPORT(read) Task* read_buffer(Executor* e, int32_t id, double offset, uint8_t* to, uint32_t bytes) {
  Buffer* buffer = e->find(id);
  if (!buffer || !in_range(*buffer, offset, bytes)) return nullptr;
  Task* task = notifying(Task::kRead);
  task->buffer = buffer;
  task->offset = static_cast<int64_t>(offset);
  task->bytes = bytes;
  task->data = to;
  e->push(task);
  return task;
}

// Rows that lie at `data`, or in the file at `offset`.
EXPORT(upload)
Task* upload(Executor* e, int32_t id, int part, int kind, int32_t row, int32_t rows, uint8_t* data, const char* path, double offset) {
  Buffer* buffer = e->find(id);
  const bool codes = part == Stored::kCodes;
  const Stored source = {static_cast<Stored::Part>(part), codes ? kF32 : static_cast<DType>(kind), codes ? kind : 0};
  if (!buffer || !buffer->takes(source, row, rows)) return nullptr;
  Task* task = notifying(Task::kUpload);
  task->buffer = buffer;
  task->source = source;
  task->row = row;
  task->rows = rows;
  task->data = data;
  task->offset = static_cast<int64_t>(offset);
  if (!data) task->file = path;
  e->push(task);
  return task;
}

EXPORT(compile) int32_t compile(Executor* e, const int32_t* words, uint32_t count, double arena_bytes, int32_t params) {
  return e->compile(words, count, static_cast<int64_t>(arena_bytes), params, message);
}
EXPORT(compile_message) const char* compile_message() { return message.c_str(); }
EXPORT(forget) void forget(Executor* e, int32_t executable) { e->forget(executable); }

EXPORT(submit) Task* submit(Executor* e, int32_t executable, const int32_t* params, uint32_t count) {
  if (!e->runnable(executable, count)) return nullptr;
  Task* task = notifying(Task::kRun);
  task->params.assign(params, params + count);
  e->submit(executable, task);
  return task;
}
EXPORT(cancel) void cancel(Task* task) { task->cancel = true; }

EXPORT(measure) Task* measure(Executor* e, int threads) {
  Task* task = notifying(Task::kMeasure);
  task->threads = threads;
  e->push(task);
  return task;
}
EXPORT(memory_bytes) double memory_bytes(Executor* e) { return static_cast<double>(e->memory_bytes()); }
EXPORT(close) Task* close_executor(Executor* e) {
  Task* task = notifying(Task::kClose);
  e->close(task);
  return task;
}

// What became of a finished task: [code, record, errno, how many numbers, where they are].
EXPORT(result) void result(Executor* e, Task* task, int32_t* out) {
  out[0] = task->code;
  out[1] = task->op_index;
  out[2] = task->error_number;
  out[3] = static_cast<int32_t>(task->numbers.size());
  out[4] = static_cast<int32_t>(reinterpret_cast<uintptr_t>(task->numbers.data()));
  if (task->code) e->acknowledge(*task);
}
EXPORT(drop) void drop(Task* task) { delete task; }

}  // namespace openelm
