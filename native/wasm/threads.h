// What threads.h promises, over WebAssembly's wait and notify. A thread is a worker that the host starts and that calls
// thread_run() some time later; where the host has none, a Thread is not joinable and its function is never called. The main
// thread of a page must not wait, so it spins there: it holds these locks for some instructions only.
#pragma once
#include <atomic>
#include <cstdint>

namespace openelm {

struct ThreadEntry {
  virtual void run() = 0;
};

// The host's (door.cc): false where there are no threads, and whether this one may wait.
bool start_thread(ThreadEntry* entry);
bool may_wait();

inline int32_t* word_of(std::atomic<uint32_t>& word) { return reinterpret_cast<int32_t*>(&word); }

class Mutex {
 public:
  void lock() {
    uint32_t open = 0;
    if (word_.compare_exchange_strong(open, 1, std::memory_order_acquire)) return;
    while (word_.exchange(2, std::memory_order_acquire) != 0) {
      if (may_wait()) __builtin_wasm_memory_atomic_wait32(word_of(word_), 2, -1);
    }
  }
  void unlock() {
    if (word_.exchange(0, std::memory_order_release) == 2) __builtin_wasm_memory_atomic_notify(word_of(word_), 1);
  }

 private:
  std::atomic<uint32_t> word_{0};   // 0: open, 1: held, 2: held and waited for
};

class Lock {
 public:
  explicit Lock(Mutex& mutex) : mutex_(mutex) { mutex_.lock(); }
  ~Lock() { mutex_.unlock(); }
  Lock(const Lock&) = delete;
  Mutex& mutex() { return mutex_; }

 private:
  Mutex& mutex_;
};

class Condition {
 public:
  void notify_one() { wake(1); }
  void notify_all() { wake(UINT32_MAX); }
  template <class Ready>
  void wait(Lock& lock, Ready ready) {
    while (!ready()) {
      const uint32_t seen = count_.load(std::memory_order_seq_cst);
      lock.mutex().unlock();
      __builtin_wasm_memory_atomic_wait32(word_of(count_), static_cast<int32_t>(seen), -1);
      lock.mutex().lock();
    }
  }

 private:
  void wake(uint32_t threads) {
    count_.fetch_add(1, std::memory_order_seq_cst);
    __builtin_wasm_memory_atomic_notify(word_of(count_), threads);
  }
  std::atomic<uint32_t> count_{0};
};

// Has no end that could be waited for: a backend that is closed drops its workers with their memory.
class Thread {
 public:
  Thread() = default;
  template <class Function>
  explicit Thread(Function function) {
    struct Entry final : ThreadEntry {
      explicit Entry(Function function) : function(function) {}
      void run() override { function(); }
      Function function;
    };
    start_thread(new Entry(function));
  }
  bool joinable() const { return false; }
  void join() {}
};

inline void yield_thread() {
  static uint32_t never = 0;
  if (may_wait()) __builtin_wasm_memory_atomic_wait32(reinterpret_cast<int32_t*>(&never), 0, 1000);   // a microsecond lets another run
}

}  // namespace openelm
