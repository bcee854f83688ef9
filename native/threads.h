// Threads, locks and sleep for whoever runs programs: the standard library's, or WebAssembly's (wasm/threads.h), whose threads are
// workers that the host starts. Chosen here once; nothing of queues or work.
#pragma once

#if defined(__wasm__)
#include "wasm/threads.h"
#else
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#if !defined(_WIN32)
#include <pthread.h>
#endif

#include "kernels/kernels.h"

namespace openelm {

#if defined(_WIN32)
using Thread = std::thread;   // has 1 MiB
#else
// std::thread with a stack that kernels can work on: musl's have 128 KiB, macOS's 512.
class Thread {
 public:
  Thread() = default;
  template <class Body>
  explicit Thread(Body body) {
    Body* const kept = new Body(std::move(body));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 2 * kChunkStack);
    const int error = pthread_create(&thread_, &attributes, run<Body>, kept);
    pthread_attr_destroy(&attributes);
    if (error) {
      delete kept;
      throw std::system_error(error, std::generic_category());
    }
    joinable_ = true;
  }
  Thread(Thread&& other) noexcept { *this = std::move(other); }
  Thread& operator=(Thread&& other) noexcept {
    thread_ = other.thread_;
    joinable_ = std::exchange(other.joinable_, false);
    return *this;
  }
  bool joinable() const { return joinable_; }
  void join() {
    pthread_join(thread_, nullptr);
    joinable_ = false;
  }

 private:
  template <class Body>
  static void* run(void* kept) {
    Body body = std::move(*static_cast<Body*>(kept));
    delete static_cast<Body*>(kept);
    body();
    return nullptr;
  }
  pthread_t thread_{};
  bool joinable_ = false;
};
#endif
using Mutex = std::mutex;
using Lock = std::unique_lock<std::mutex>;
using Condition = std::condition_variable;
inline void yield_thread() { std::this_thread::yield(); }

}  // namespace openelm
#endif
