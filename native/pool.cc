// See pool.h. Memory that a late thread may touch (slots, epoch) belongs to the pool; the work itself is touched only by a
// thread that holds a chunk of it, which keeps the run from ending.
#include "pool.h"

#include <chrono>
#if defined(__linux__)
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/kernels.h"

namespace openelm {

namespace {

constexpr int kCountBits = 24;
constexpr uint64_t kCount = (uint64_t(1) << kCountBits) - 1;
#if defined(__wasm__)
constexpr int kSpinLooks = 6000;   // to offer the CPU is to sleep there, for 60 microseconds and more: longer than most chunks
#else
constexpr int kSpinLooks = 2000;
#endif
constexpr int64_t kSpinNanoseconds = 30'000;
[[maybe_unused]] constexpr int kNice = 3;   // more would lose too much beside a busy neighbour

// The next chunk of this run, or -1 when there is none (or the slot is a later run's already).
int take(std::atomic<uint64_t>& next, uint64_t run, uint32_t chunks) {
  uint64_t seen = next.load(std::memory_order_relaxed);
  for (;;) {
    const uint64_t of = seen >> kCountBits;
    const uint64_t count = of < run ? 0 : seen & kCount;
    if (of > run || count >= chunks) return -1;
    if (next.compare_exchange_weak(seen, run << kCountBits | (count + 1), std::memory_order_relaxed)) {
      return static_cast<int>(count);
    }
  }
}

void add(std::atomic<uint64_t>& done, uint64_t run, uint32_t chunks) {
  uint64_t seen = done.load(std::memory_order_relaxed);
  uint64_t count;
  do {
    count = (seen >> kCountBits) < run ? 0 : seen & kCount;
  } while (!done.compare_exchange_weak(seen, run << kCountBits | (count + chunks), std::memory_order_acq_rel));
}

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void relax(int looks) {
  if (looks >= kSpinLooks) {
    yield_thread();
    return;
  }
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#elif defined(__wasm__)
  std::atomic_thread_fence(std::memory_order_seq_cst);   // there is no pause: about as long as one, and no compiler drops it
#endif
}

bool spin_time_over(int looks, int64_t& since) {
  if (looks % 64) return false;
  const int64_t time = now();
  if (looks == 0) since = time;
  return time - since > kSpinNanoseconds;
}

void lower_priority() {
#if defined(__linux__)
  // A thread's own, on Linux.
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), kNice);
#endif
}

Pool::Pool(int threads) {
  try {
    for (int i = 1; i < threads; i++) workers_.emplace_back([this, i] { loop(i); });
  } catch (...) {
    join();
    throw;
  }
}

Pool::~Pool() { join(); }

void Pool::join() {
  {
    Lock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  for (Thread& worker : workers_) worker.join();
}

void Pool::fail(int step, int code) {
  uint64_t none = 0;
  failure_.compare_exchange_strong(none, uint64_t(step) << 32 | uint32_t(code));
}

Pool::Result Pool::run_alone(Work& work, const int32_t* chunks, int steps, const std::atomic<bool>& cancel) {
  for (int i = 0; i < steps; i++) {
    if (cancel.load(std::memory_order_relaxed)) return {kCancelled, i};
    for (int c = 0; c < chunks[i]; c++) {
      if (const int code = work.run(i, c, chunks[i], 0)) return {code, i};
    }
  }
  return {kOk, 0};
}

Pool::Result Pool::run(Work& work, const int32_t* chunks, int steps, const std::atomic<bool>& cancel) {
  bool shared = false;
  for (int i = 0; i < steps; i++) shared |= chunks[i] > 1;
  if (!shared || workers_.empty()) return run_alone(work, chunks, steps, cancel);

  const uint64_t epoch = epoch_.load(std::memory_order_relaxed);
  epoch_.store(epoch + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  if (steps > capacity_) {
    const int capacity = steps + steps / 2;
    slots_owned_.emplace_back(new Slot[capacity]);
    capacity_ = capacity;
    slots_.store(slots_owned_.back().get(), std::memory_order_relaxed);
  }
  Slot* slots = slots_.load(std::memory_order_relaxed);
  for (int i = 0; i < steps; i++) slots[i].chunks.store(static_cast<uint32_t>(chunks[i]), std::memory_order_relaxed);
  length_.store(steps, std::memory_order_relaxed);
  work_.store(&work, std::memory_order_relaxed);
  failure_.store(0, std::memory_order_relaxed);
  epoch_.store(epoch + 2, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst)) {
    { Lock lock(mutex_); }
    wake_.notify_all();
  }
  walk(epoch + 2, 0, &cancel);
  const uint64_t failure = failure_.load(std::memory_order_relaxed);
  return {static_cast<int>(failure & 0xffffffff), static_cast<int>(failure >> 32)};
}

void Pool::walk(uint64_t epoch, int thread, const std::atomic<bool>* cancel) {
  const uint64_t run = epoch / 2;
  Slot* slots = slots_.load(std::memory_order_relaxed);
  const int length = length_.load(std::memory_order_relaxed);
  Work* work = work_.load(std::memory_order_relaxed);
  const auto over = [&] {
    std::atomic_thread_fence(std::memory_order_acquire);
    return epoch_.load(std::memory_order_relaxed) != epoch;
  };
  if (over()) return;
  for (int i = 0; i < length; i++) {
    Slot& slot = slots[i];
    const uint32_t chunks = slot.chunks.load(std::memory_order_relaxed);
    if (over()) return;
    if (cancel && cancel->load(std::memory_order_relaxed)) fail(i, kCancelled);
    if (chunks == 0) continue;
    uint32_t mine = 0;
    for (int chunk; (chunk = take(slot.next, run, chunks)) >= 0; mine++) {
      // After a failure the chunks are only counted, so that every thread gets through.
      if (failure_.load(std::memory_order_relaxed)) continue;
      if (const int code = work->run(i, chunk, static_cast<int>(chunks), thread)) fail(i, code);
    }
    if (mine) add(slot.done, run, mine);
    for (int looks = 0;; looks++) {
      const uint64_t done = slot.done.load(std::memory_order_acquire);
      if (done >= (run << kCountBits | chunks)) break;   // of a later run, too: `over` tells
      relax(looks);
    }
  }
}

void Pool::loop(int thread) {
  lower_priority();
  uint64_t seen = 0;
  const auto ready = [&] {
    const uint64_t epoch = epoch_.load(std::memory_order_seq_cst);
    return stop_.load(std::memory_order_relaxed) || (epoch != seen && epoch % 2 == 0);
  };
  for (;;) {
    if (!spin_until(ready)) {
      Lock lock(mutex_);
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      wake_.wait(lock, ready);
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    }
    if (stop_.load(std::memory_order_relaxed)) return;
    seen = epoch_.load(std::memory_order_acquire);
    if (seen % 2 == 0) walk(seen, thread, nullptr);
  }
}

}  // namespace openelm
