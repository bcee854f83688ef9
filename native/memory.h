// Memory for tensors: zero-filled, 256-byte aligned, in pages taken straight from the system (2 MiB ones where it has them,
// worth 4-10% when reading weights), given back as soon as the last buffer in a mapping is gone. Pages that nobody touched
// cost nothing. Small buffers share mappings; a freed place is not handed out again, so it need not be cleared.
#pragma once
#include <cstddef>
#include <cstdint>

#include "threads.h"

namespace openelm {

struct Mapping {
  uint8_t* data;
  size_t bytes, used;
  int blocks;
};

struct Block {
  uint8_t* data = nullptr;
  size_t bytes = 0;
  Mapping* mapping = nullptr;
};

// May be used by several threads. Every block must be released before it goes.
class Memory {
 public:
  Memory() = default;
  Memory(const Memory&) = delete;
  bool allocate(uint64_t bytes, Block& block);   // false: out of memory
  void release(Block& block);
  size_t held();   // bytes of all blocks

 private:
  Mutex mutex_;
  [[maybe_unused]] Mapping* shared_ = nullptr;   // where small blocks are cut from
  size_t held_ = 0;
};

}  // namespace openelm
