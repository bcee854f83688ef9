// The Node door: Node-API functions over the executor, and promises settled from its thread through one thread-safe function
// a backend, which keeps Node alive only while work is pending. Arguments come from backends/native.ts alone, which checks
// them; here they are checked as far as memory safety needs. Not a place for anything that computes.

#if !defined(_WIN32)
#include <sys/file.h>
#endif

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <functional>
#include <string>
#include <unordered_map>

#include "cpu.h"
#include "encode.h"
#include "executor.h"
#include "node_values.h"
#include "shared.h"

namespace openelm {
namespace {

struct Job final : Task {
  using Task::Task;
  napi_deferred deferred = nullptr;
  napi_ref kept = nullptr;   // the array whose memory is used
  uint32_t run = 0;
};

struct Door {
  napi_env env = nullptr;
  Executor* executor = nullptr;   // null once it is closed
  napi_threadsafe_function settle = nullptr;
  napi_ref self = nullptr;        // strong while work is pending
  uint32_t pending = 0;
  std::unordered_map<uint32_t, Job*> runs;
  std::atomic<int> aside{0};      // what works on buffers beside the executor
};

const KernelTable* table_of(const std::string& isa) {
  for (const KernelTable* table : kernels_of_this_cpu())
    if (isa == table->isa) return table;
  return nullptr;
}

Door* door_of(Args& args) {
  Door* door = static_cast<Door*>(args.external());
  args.ok &= door && door->executor;
  return door;
}

Buffer* buffer_of(Args& args, Door* door) {
  Buffer* buffer = door->executor->find(args.small(1));
  if (args.ok && !buffer) args.reason = "a buffer that is unknown or freed";
  args.ok &= buffer != nullptr;
  return buffer;
}

// What works beside the executor takes milliseconds.
void wait_for_aside(const Door& door) {
  while (door.aside.load()) yield_thread();
}

// The environment ends (exit of a worker, or of Node): the threads must be gone before its memory is.
void end_of_environment(void* data) {
  Door* door = static_cast<Door*>(data);
  wait_for_aside(*door);
  delete door->executor;
  door->executor = nullptr;
}

void shut(Door* door, napi_threadsafe_function_release_mode mode) {
  end_of_environment(door);
  napi_remove_env_cleanup_hook(door->env, end_of_environment, door);
  napi_release_threadsafe_function(door->settle, mode);
}

void finalize(napi_env, void* data, void*) {
  Door* door = static_cast<Door*>(data);
  if (door->executor) shut(door, napi_tsfn_abort);
  delete door;
}

// The executor's thread: a task is finished.
void finished(void* data, Task* task) {
  if (napi_call_threadsafe_function(static_cast<Door*>(data)->settle, task, napi_tsfn_nonblocking) != napi_ok) delete task;
}

// Node's thread: settles the promise of a finished task.
void settle(napi_env env, napi_value, void* context, void* data) {
  Job* job = static_cast<Job*>(data);
  if (!env) {   // the environment is ending; the door may be gone
    delete job;
    return;
  }
  Door* door = static_cast<Door*>(context);
  napi_value value = nullptr;
  if (job->code == kOk) {
    if (job->kind == Task::kRead) napi_get_reference_value(env, job->kept, &value);
    else if (job->kind == Task::kMeasure) value = numbers(env, job->numbers);
    else napi_get_undefined(env, &value);
    napi_resolve_deferred(env, job->deferred, value);
  } else {
    if (door->executor) door->executor->acknowledge(*job);
    value = numbers(env, {double(job->code), double(job->op_index), double(job->error_number)});
    napi_reject_deferred(env, job->deferred, value);
  }
  if (job->kept) napi_delete_reference(env, job->kept);
  door->runs.erase(job->run);
  if (--door->pending == 0) {
    napi_unref_threadsafe_function(env, door->settle);
    napi_reference_unref(env, door->self, nullptr);
  }
  if (job->kind == Task::kClose) shut(door, napi_tsfn_release);
  delete job;
}

// The promise of a job that is about to be queued.
napi_value promise_of(Door* door, Job* job, napi_value kept = nullptr) {
  napi_value promise = nullptr;
  napi_create_promise(door->env, &job->deferred, &promise);
  if (kept) napi_create_reference(door->env, kept, 1, &job->kept);
  job->notify = true;
  if (door->pending++ == 0) {
    napi_ref_threadsafe_function(door->env, door->settle);
    napi_reference_ref(door->env, door->self, nullptr);
  }
  return promise;
}

// create(isa, threads, access of every operand in the op table's order) -> backend, or a string that says why not
napi_value create(Args& args, Door*) {
  napi_env env = args.env;
  const KernelTable* table = table_of(args.text());
  const int threads = args.small(1, 1024);
  size_t length = 0;
  const uint8_t* bytes = args.bytes(length);
  size_t operands = 0;
  for (const OpSize& op : kOpSizes) operands += static_cast<size_t>(op.operands);
  if (!args.ok || length != operands) return args.wrong();
  if (!table) return text(env, "this CPU does not support that instruction set");
  std::vector<Access> access;
  for (size_t i = 0; i < length; i++) access.push_back(static_cast<Access>(bytes[i]));
  Door* door = new Door;
  door->env = env;
  try {
    door->executor = new Executor(*table, threads, std::move(access), finished, door);
  } catch (const std::exception& error) {
    delete door;
    return text(env, std::string("its threads could not be started: ") + error.what());
  }
  napi_value name = text(env, "openelm"), external = nullptr;
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, door, settle, &door->settle);
  napi_unref_threadsafe_function(env, door->settle);
  napi_add_env_cleanup_hook(env, end_of_environment, door);   // hooks run last in, first out: before the function's own
  napi_create_external(env, door, finalize, nullptr, &external);
  napi_create_reference(env, external, 0, &door->self);
  return external;
}

// allocate(backend, dtype, elements) -> id, 0: out of memory
napi_value allocate(Args& args, Door* door) {
  const DType dtype = static_cast<DType>(args.small(kF32, kI32));
  const int64_t elements = args.integer(0, INT32_MAX);
  if (!args.ok) return args.wrong();
  return number(args.env, door->executor->create(dtype, elements));
}

// allocateWeight(backend, dtype, rows, columns, inputs that share a scale) -> id, 0: out of memory
napi_value allocate_weight(Args& args, Door* door) {
  const DType dtype = static_cast<DType>(args.small(kF32, kAffine3));
  const int32_t rows = args.small(1), columns = args.small(1), group = args.small(kGroup, 4 * kGroup);
  if (!args.ok || dtype == kI32 || int64_t(rows) * columns > INT32_MAX) return args.wrong();
  if (affine(dtype) ? (group & (group - 1)) != 0 || columns % group != 0 : group != kGroup) return args.wrong();
  return number(args.env, door->executor->create_weight(dtype, rows, columns, group));
}

// free(backend, id)
napi_value free_buffer(Args& args, Door* door) {
  const int32_t id = args.small();
  if (!args.ok) return args.wrong();
  door->executor->free(id);
  return nullptr;
}

bool in_range(const Buffer& buffer, int64_t offset, size_t bytes) {
  const int64_t all = buffer.elements * element_bytes(buffer.dtype);
  return !buffer.is_weight() && offset <= all && bytes <= static_cast<size_t>(all - offset);
}

// write(backend, id, byte offset, array): copied now
napi_value write(Args& args, Door* door) {
  Buffer* buffer = buffer_of(args, door);
  const int64_t offset = args.integer();
  size_t bytes = 0;
  const uint8_t* data = args.bytes(bytes);
  if (!args.ok || !in_range(*buffer, offset, bytes)) return args.wrong();
  Task* task = new Task(Task::kWrite);
  task->buffer = buffer;
  task->offset = offset;
  task->bytes = bytes;
  task->copy.reset(new uint8_t[bytes]);
  std::copy(data, data + bytes, task->copy.get());
  door->executor->push(task);
  return nullptr;
}

// read(backend, id, byte offset, array to fill) -> promise of the array
napi_value read(Args& args, Door* door) {
  Buffer* buffer = buffer_of(args, door);
  const int64_t offset = args.integer();
  size_t bytes = 0;
  uint8_t* data = args.bytes(bytes);
  if (!args.ok || !in_range(*buffer, offset, bytes)) return args.wrong();
  Job* job = new Job(Task::kRead);
  job->buffer = buffer;
  job->offset = offset;
  job->bytes = bytes;
  job->data = data;
  const napi_value promise = promise_of(door, job, args.array);
  door->executor->push(job);
  return promise;
}

// upload(backend, id, part, its dtype or bits, first row, rows, array of whole rows)       -> promise
// upload(backend, id, part, its dtype or bits, first row, rows, offset in the file, path)  -> promise
napi_value upload(Args& args, Door* door, bool from_file) {
  Buffer* buffer = buffer_of(args, door);
  Stored source;
  source.part = static_cast<Stored::Part>(args.small(Stored::kElements, Stored::kMinimums));
  if (source.part == Stored::kCodes) source.bits = args.small(2, 8);
  else source.dtype = static_cast<DType>(args.small(kF32, kQ4));
  const int64_t row = args.integer(0, INT32_MAX), rows = args.integer(1, INT32_MAX);
  const int64_t offset = from_file ? args.integer() : 0;
  const std::string file = from_file ? args.text() : "";
  size_t bytes = 0;
  uint8_t* data = from_file ? nullptr : args.bytes(bytes);
  if (!args.ok) return args.wrong();
  if (!buffer->takes(source, row, rows)) return args.wrong();
  if (!from_file && static_cast<int64_t>(bytes) != buffer->stored_bytes(source, rows)) return args.wrong();
  Job* job = new Job(Task::kUpload);
  job->buffer = buffer;
  job->source = source;
  job->row = row;
  job->rows = rows;
  job->offset = offset;
  job->file = file;
  job->data = data;
  const napi_value promise = promise_of(door, job, args.array);
  door->executor->push(job);
  return promise;
}
napi_value upload_rows(Args& args, Door* door) { return upload(args, door, false); }
napi_value upload_file(Args& args, Door* door) { return upload(args, door, true); }

// compile(backend, words, arena bytes, params) -> id, or a string that says what is wrong
napi_value compile(Args& args, Door* door) {
  size_t bytes = 0;
  const uint8_t* words = args.bytes(bytes);
  const int64_t arena = args.integer();
  const int32_t params = args.small();
  if (!args.ok) return args.wrong();
  std::string message;
  const int32_t id = door->executor->compile(reinterpret_cast<const int32_t*>(words), bytes / 4, arena, params, message);
  return id ? number(args.env, id) : text(args.env, message);
}

// forget(backend, executable)
napi_value forget(Args& args, Door* door) {
  const int32_t id = args.small();
  if (!args.ok) return args.wrong();
  door->executor->forget(id);
  return nullptr;
}

// submit(backend, executable, params, run) -> promise, or 0: the executable, or a buffer it uses, is gone
napi_value submit(Args& args, Door* door) {
  const int32_t id = args.small();
  size_t bytes = 0;
  const int32_t* params = reinterpret_cast<const int32_t*>(args.bytes(bytes));
  const int32_t run = args.small(1);
  if (!args.ok) return args.wrong();
  if (!door->executor->runnable(id, bytes / 4)) return number(args.env, 0);
  Job* job = new Job(Task::kRun);
  job->params.assign(params, params + bytes / 4);
  job->run = static_cast<uint32_t>(run);
  door->runs[job->run] = job;
  const napi_value promise = promise_of(door, job);
  door->executor->submit(id, job);
  return promise;
}

// cancel(backend, run)
napi_value cancel(Args& args, Door* door) {
  const int32_t run = args.small();
  if (!args.ok) return args.wrong();
  const auto found = door->runs.find(static_cast<uint32_t>(run));
  if (found != door->runs.end()) found->second->cancel = true;
  return nullptr;
}

// measure(backend, threads) -> promise of [bytes a second with 1 .. threads threads, f32 peak, int8 peak]
napi_value measure(Args& args, Door* door) {
  const int32_t threads = args.small(1, 1024);
  if (!args.ok) return args.wrong();
  Job* job = new Job(Task::kMeasure);
  job->threads = threads;
  const napi_value promise = promise_of(door, job);
  door->executor->push(job);
  return promise;
}

// address(backend, id) -> where a buffer of rows lies
napi_value address(Args& args, Door* door) {
  Buffer* buffer = buffer_of(args, door);
  if (!args.ok || buffer->is_weight()) return args.wrong();
  napi_value value = nullptr;
  napi_create_bigint_uint64(args.env, reinterpret_cast<uintptr_t>(buffer->data), &value);
  return value;
}

// The elements [first, first + count) of a buffer of f32 rows, as the next three arguments say.
float* floats_of(Args& args, Door* door, int64_t& count) {
  Buffer* buffer = buffer_of(args, door);
  const int64_t first = args.integer();
  count = args.integer();
  args.ok &= buffer && !buffer->is_weight() && buffer->dtype == kF32 && first + count <= buffer->elements;
  return args.ok ? reinterpret_cast<float*>(buffer->data) + first : nullptr;
}

// clear(backend, id, first, count)
napi_value clear_memory(Args& args, Door* door) {
  int64_t count = 0;
  float* values = floats_of(args, door, count);
  if (!args.ok) return args.wrong();
  clear(values, count);
  return nullptr;
}

// Work on a thread of Node's own, beside the executor.
struct Aside {
  Door* door;
  std::function<void()> work;
  napi_async_work handle = nullptr;
  napi_deferred deferred = nullptr;
  napi_ref kept[2] = {};
};

napi_value start_aside(Door* door, std::function<void()> work, std::initializer_list<napi_value> arrays) {
  Aside* aside = new Aside{door, std::move(work)};
  napi_value promise = nullptr;
  napi_create_promise(door->env, &aside->deferred, &promise);
  size_t at = 0;
  for (const napi_value array : arrays) napi_create_reference(door->env, array, 1, &aside->kept[at++]);
  const auto execute = [](napi_env, void* data) {
    Aside* aside = static_cast<Aside*>(data);
    aside->work();
    aside->door->aside--;
  };
  const auto complete = [](napi_env env, napi_status, void* data) {
    Aside* aside = static_cast<Aside*>(data);
    napi_value nothing = nullptr;
    napi_get_undefined(env, &nothing);
    napi_resolve_deferred(env, aside->deferred, nothing);
    for (napi_ref kept : aside->kept)
      if (kept) napi_delete_reference(env, kept);
    napi_delete_async_work(env, aside->handle);
    napi_reference_unref(env, aside->door->self, nullptr);
    delete aside;
  };
  napi_reference_ref(door->env, door->self, nullptr);
  door->aside++;
  napi_create_async_work(door->env, nullptr, text(door->env, "openelm"), execute, complete, aside, &aside->handle);
  napi_queue_async_work(door->env, aside->handle);
  return promise;
}

// round(backend, id, first, count, error, rounded) -> promise
napi_value round_aside(Args& args, Door* door) {
  int64_t count = 0;
  const float* values = floats_of(args, door, count);
  size_t error_bytes = 0, rounded_bytes = 0;
  float* error = reinterpret_cast<float*>(args.bytes(error_bytes));
  const napi_value first = args.array;
  uint16_t* rounded = reinterpret_cast<uint16_t*>(args.bytes(rounded_bytes));
  if (!args.ok || error_bytes != size_t(count) * 4 || rounded_bytes != size_t(count) * 2) return args.wrong();
  return start_aside(door, [=] { round_keeping(values, error, rounded, count); }, {first, args.array});
}

// sum(backend, id, first, count, parts) -> promise
napi_value sum_aside(Args& args, Door* door) {
  int64_t count = 0;
  float* sum = floats_of(args, door, count);
  size_t bytes = 0;
  const uint16_t* parts = reinterpret_cast<const uint16_t*>(args.bytes(bytes));
  if (!args.ok || count < 1 || bytes % (size_t(count) * 2) != 0 || bytes == 0) return args.wrong();
  const int number = static_cast<int>(bytes / 2 / size_t(count));
  return start_aside(door, [=] { sum_parts(parts, count, number, sum, count); }, {args.array});
}

// memoryBytes(backend) -> bytes of all buffers and work space
napi_value memory_bytes(Args& args, Door* door) {
  return number(args.env, static_cast<double>(door->executor->memory_bytes()));
}

// close(backend) -> promise
napi_value close(Args&, Door* door) {
  Job* job = new Job(Task::kClose);
  const napi_value promise = promise_of(door, job);
  wait_for_aside(*door);
  door->executor->close(job);
  return promise;
}

// lockFile(fd) -> 0: this process holds the file's lock until it closes it or ends; 1: another does; -1: no such locks here
napi_value lock_file(Args& args, Door*) {
  const int32_t fd = args.small();
  if (!args.ok) return args.wrong();
#if defined(_WIN32)
  return number(args.env, -1);
#else
  int failed;
  do failed = flock(fd, LOCK_EX | LOCK_NB);
  while (failed && errno == EINTR);
  return number(args.env, !failed ? 0 : errno == EWOULDBLOCK ? 1 : -1);
#endif
}

// Work of encode() on one of libuv's threads.
struct Encoding {
  DType source, type;
  const uint8_t* from;
  uint8_t* to;
  int64_t values;
  napi_deferred deferred;
  napi_async_work work;
  napi_ref kept[2];   // the arrays
};

// encode(its dtype, q8 or q4, array of numbers, array to fill with blocks) -> promise of the latter
napi_value encode(Args& args, Door*) {
  const napi_env env = args.env;
  const DType source = static_cast<DType>(args.small(kF32, kBF16)), type = static_cast<DType>(args.small(kQ8, kQ4));
  size_t bytes = 0, room = 0;
  const uint8_t* from = args.bytes(bytes);
  const napi_value from_array = args.array;
  uint8_t* to = args.bytes(room);
  const int64_t values = static_cast<int64_t>(bytes) / element_bytes(source), blocks = values / kGroup;
  if (!args.ok || blocks * kGroup * element_bytes(source) != static_cast<int64_t>(bytes)) return args.wrong();
  if (blocks * block_bytes(type) != static_cast<int64_t>(room)) return args.wrong();
  Encoding* job = new Encoding{source, type, from, to, values, nullptr, nullptr, {}};
  napi_value promise = nullptr;
  napi_create_promise(env, &job->deferred, &promise);
  napi_create_reference(env, from_array, 1, &job->kept[0]);
  napi_create_reference(env, args.array, 1, &job->kept[1]);
  const auto execute = [](napi_env, void* data) {
    const Encoding& e = *static_cast<Encoding*>(data);
    encode_blocks(kernels_of_this_cpu().back()->to_f32, e.source, e.from, e.type, e.to, e.values);
  };
  const auto complete = [](napi_env env, napi_status, void* data) {
    Encoding* job = static_cast<Encoding*>(data);
    napi_value filled = nullptr;
    napi_get_reference_value(env, job->kept[1], &filled);
    napi_resolve_deferred(env, job->deferred, filled);
    for (napi_ref kept : job->kept) napi_delete_reference(env, kept);
    napi_delete_async_work(env, job->work);
    delete job;
  };
  napi_create_async_work(env, nullptr, text(env, "openelm"), execute, complete, job, &job->work);
  napi_queue_async_work(env, job->work);
  return promise;
}

// Exceptions (memory, mostly) end here.
template <napi_value (*function)(Args&, Door*), bool opened = true>
napi_value guarded(napi_env env, napi_callback_info info) {
  Args args(env, info);
  Door* door = opened ? door_of(args) : nullptr;
  if (!args.ok) return args.wrong();
  try {
    return function(args, door);
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
    return nullptr;
  }
}

}  // namespace
}  // namespace openelm

NAPI_MODULE_INIT() {
  using namespace openelm;
  const napi_property_descriptor functions[] = {
#define OPENELM_FUNCTION(name, ...) {name, nullptr, guarded<__VA_ARGS__>, nullptr, nullptr, nullptr, napi_enumerable, nullptr}
      OPENELM_FUNCTION("create", create, false),
      OPENELM_FUNCTION("allocate", allocate),
      OPENELM_FUNCTION("allocateWeight", allocate_weight),
      OPENELM_FUNCTION("free", free_buffer),
      OPENELM_FUNCTION("write", write),
      OPENELM_FUNCTION("read", read),
      OPENELM_FUNCTION("uploadRows", upload_rows),
      OPENELM_FUNCTION("uploadFile", upload_file),
      OPENELM_FUNCTION("compile", compile),
      OPENELM_FUNCTION("forget", forget),
      OPENELM_FUNCTION("submit", submit),
      OPENELM_FUNCTION("cancel", cancel),
      OPENELM_FUNCTION("measure", measure),
      OPENELM_FUNCTION("address", address),
      OPENELM_FUNCTION("clear", clear_memory),
      OPENELM_FUNCTION("round", round_aside),
      OPENELM_FUNCTION("sum", sum_aside),
      OPENELM_FUNCTION("memoryBytes", memory_bytes),
      OPENELM_FUNCTION("close", close),
      OPENELM_FUNCTION("lockFile", lock_file, false),
      OPENELM_FUNCTION("encode", encode, false),
#undef OPENELM_FUNCTION
  };
  napi_define_properties(env, exports, sizeof functions / sizeof *functions, functions);
  napi_set_named_property(env, exports, "abiHash", text(env, kAbiHash));
  napi_value isas = nullptr;
  napi_create_array(env, &isas);
  uint32_t count = 0;
  for (const KernelTable* table : kernels_of_this_cpu()) napi_set_element(env, isas, count++, text(env, table->isa));
  napi_set_named_property(env, exports, "isas", isas);
  return exports;
}
