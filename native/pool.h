// Runs work on n threads. Work is a list of steps, each cut into chunks; all chunks of a step end before the next begins.
// Every step owns a pair of counters, {next, done}: a thread takes chunks while there are any and goes on when all are done,
// so nobody waits for a thread, only for work, and a thread that the system has taken off its CPU holds up nobody but the
// chunk it is in. Counters carry the number of their run and are never reset. Not a general scheduler: one run at a time.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "threads.h"

namespace openelm {

class Work {
 public:
  // Returns a Code; anything but 0 ends the run. `thread` is 0 .. threads - 1, 0 being the caller of Pool::run.
  virtual int run(int step, int chunk, int chunks, int thread) = 0;

 protected:
  ~Work() = default;
};

class Pool {
 public:
  struct Result {
    int code;   // the first failure, or 0
    int step;   // where it happened
  };
  static constexpr int kMaxChunks = (1 << 24) - 1;

  explicit Pool(int threads);   // throws std::system_error
  ~Pool();
  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  // chunks: of each step, 0 .. kMaxChunks. `cancel` is looked at between steps.
  Result run(Work& work, const int32_t* chunks, int steps, const std::atomic<bool>& cancel);

 private:
  // A word is (run << 24 | count); one that still holds an older run counts as 0 of the present one.
  struct alignas(64) Slot {
    std::atomic<uint64_t> next{0}, done{0};
    std::atomic<uint32_t> chunks{0};
  };
  Result run_alone(Work& work, const int32_t* chunks, int steps, const std::atomic<bool>& cancel);
  void walk(uint64_t run, int thread, const std::atomic<bool>* cancel);
  void fail(int step, int code);
  void loop(int thread);
  void join();

  std::vector<Thread> workers_;
  std::vector<std::unique_ptr<Slot[]>> slots_owned_;   // outgrown arrays stay: a late thread may still look into one
  int capacity_ = 0;
  // What the present run is. Written only while epoch_ is odd; a reader looks at epoch_ again before it trusts them.
  std::atomic<Slot*> slots_{nullptr};
  std::atomic<int> length_{0};
  std::atomic<Work*> work_{nullptr};
  alignas(64) std::atomic<uint64_t> epoch_{0};
  alignas(64) std::atomic<uint64_t> failure_{0};   // step << 32 | code
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  Mutex mutex_;
  Condition wake_;
};

// One look at a condition inside a loop: a pause at first, then the CPU is offered to others.
void relax(int looks);
// Spins until `ready` or for some tens of microseconds; says whether it became ready.
template <typename Ready>
bool spin_until(Ready ready);
// Makes the calling thread give way to threads that answer to people (Node's main thread).
void lower_priority();

bool spin_time_over(int looks, int64_t& since);
template <typename Ready>
bool spin_until(Ready ready) {
  int64_t since = 0;
  for (int looks = 0; !ready(); looks++) {
    if (spin_time_over(looks, since)) return false;
    relax(0);
  }
  return true;
}

}  // namespace openelm
