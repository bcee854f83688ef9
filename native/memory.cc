// See memory.h.
#include "memory.h"

#include <new>

#include "system.h"

namespace openelm {

namespace {

constexpr size_t kAlign = 256;
constexpr size_t kSharedBytes = size_t(64) << 20;
constexpr size_t kOwnMapping = size_t(8) << 20;   // from this size on

size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

bool Memory::allocate(uint64_t bytes, Block& block) {
  static const size_t physical = physical_bytes();
  if (bytes > physical) return false;
  const size_t size = round_up(static_cast<size_t>(bytes ? bytes : 1), kAlign);
  Lock lock(mutex_);
  // More than the machine has would be promised by the system all the same, and the process killed when it is used.
  if (size > physical - held_) return false;
  const bool own = size >= kOwnMapping;
  Mapping* mapping = own ? nullptr : shared_;
  if (!mapping || mapping->bytes - mapping->used < size) {
    const size_t take = own ? round_up(size, page_bytes()) : kSharedBytes;
    uint8_t* data = map_pages(take);
    if (!data) return false;
    mapping = new (std::nothrow) Mapping{data, take, 0, 0};
    if (!mapping) {
      unmap_pages(data, take);
      return false;
    }
    if (!own) shared_ = mapping;   // the full one lives on through its blocks
  }
  held_ += size;
  block = {mapping->data + mapping->used, size, mapping};
  mapping->used += size;
  mapping->blocks++;
  return true;
}

void Memory::release(Block& block) {
  Mapping* mapping = block.mapping;
  if (!mapping) return;
  const Block gone = block;
  block = {};
  {
    Lock lock(mutex_);
    held_ -= gone.bytes;
    if (--mapping->blocks) {
      // Its place is not used again, but the pages that it had to itself go back now.
      const uintptr_t from = round_up(reinterpret_cast<uintptr_t>(gone.data), page_bytes());
      const uintptr_t to = (reinterpret_cast<uintptr_t>(gone.data) + gone.bytes) / page_bytes() * page_bytes();
      if (from < to) discard_pages(reinterpret_cast<uint8_t*>(from), to - from);
      return;
    }
    if (mapping == shared_) shared_ = nullptr;
  }
  unmap_pages(mapping->data, mapping->bytes);
  delete mapping;
}

size_t Memory::held() {
  Lock lock(mutex_);
  return held_;
}

}  // namespace openelm
