// What the rest of native/ expects of a system, from the host (src/backends/wasm.ts): threads, time, files; and what the language
// expects of a runtime, which without exceptions and destructors at the end is nothing.
#include <errno.h>
#include <time.h>

#include <chrono>

#include "../system.h"
#include "../threads.h"

#define HOST(name) extern "C" __attribute__((import_module("host"), import_name(#name)))
HOST(start_thread) int host_start_thread(openelm::ThreadEntry* entry);
HOST(may_wait) int host_may_wait();
HOST(now) double host_now();   // milliseconds
// Below zero: -errno.
HOST(open_file) int host_open_file(const char* path);
HOST(read_at) int host_read_at(int file, void* to, int bytes, double offset);
HOST(close_file) void host_close_file(int file);

namespace openelm {

bool start_thread(ThreadEntry* entry) { return host_start_thread(entry) != 0; }
bool may_wait() { return host_may_wait() != 0; }

int open_file(const char* path) {
  const int file = host_open_file(path);
  if (file >= 0) return file;
  errno = -file;
  return -1;
}

int64_t read_at(int file, void* to, size_t bytes, int64_t offset) {
  const int got = host_read_at(file, to, static_cast<int>(bytes), static_cast<double>(offset));
  if (got >= 0) return got;
  errno = -got;
  return -1;
}

void close_file(int file) { host_close_file(file); }

}  // namespace openelm

extern "C" {
int openelm_errno;

int clock_gettime(clockid_t, struct timespec* time) {
  const double now = host_now();
  time->tv_sec = static_cast<time_t>(now / 1000);
  time->tv_nsec = static_cast<long>((now - static_cast<double>(time->tv_sec) * 1000) * 1e6);
  return 0;
}

void* __cxa_allocate_exception(size_t) { __builtin_trap(); }
void __cxa_throw(void*, void*, void (*)(void*)) { __builtin_trap(); }
void __cxa_pure_virtual() { __builtin_trap(); }
int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }
void abort() { __builtin_trap(); }
void abort_message(const char*, ...) { __builtin_trap(); }
void __abort_message(const char*, ...) { __builtin_trap(); }
}

#if __clang_major__ >= 20
#define ABORT_NOEXCEPT noexcept
#else
#define ABORT_NOEXCEPT
#endif
void std::__libcpp_verbose_abort(char const*, ...) ABORT_NOEXCEPT { __builtin_trap(); }
std::chrono::steady_clock::time_point std::chrono::steady_clock::now() noexcept {
  return time_point(duration(static_cast<int64_t>(host_now() * 1e6)));
}
