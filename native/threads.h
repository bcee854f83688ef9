// Threads, locks and sleep for whoever runs programs: the standard library's, or WebAssembly's (wasm/threads.h), whose threads are
// workers that the host starts. Chosen here once; nothing of queues or work.
#pragma once

#if defined(__wasm__)
#include "wasm/threads.h"
#else
#include <condition_variable>
#include <mutex>
#include <thread>

namespace openelm {

using Thread = std::thread;
using Mutex = std::mutex;
using Lock = std::unique_lock<std::mutex>;
using Condition = std::condition_variable;
inline void yield_thread() { std::this_thread::yield(); }

}  // namespace openelm
#endif
