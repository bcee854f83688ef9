// See memory.h.
#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace openelm {

namespace {

constexpr size_t kAlign = 256;
constexpr size_t kHugePage = size_t(2) << 20;
constexpr size_t kSharedBytes = size_t(64) << 20;
constexpr size_t kOwnMapping = size_t(8) << 20;   // from this size on

size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

uint8_t* map_pages(size_t bytes) {
  const size_t slack = bytes >= kHugePage ? kHugePage : 0;
  void* at = mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  uint8_t* data = static_cast<uint8_t*>(at);
  if (slack) {
    uint8_t* aligned = reinterpret_cast<uint8_t*>(round_up(reinterpret_cast<uintptr_t>(data), kHugePage));
    const size_t before = static_cast<size_t>(aligned - data), after = slack - before;
    if (before) munmap(data, before);
    if (after) munmap(aligned + bytes, after);
    data = aligned;
#if defined(MADV_HUGEPAGE)
    madvise(data, bytes, MADV_HUGEPAGE);
#endif
  }
  return data;
}

size_t physical_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? static_cast<size_t>(pages) * static_cast<size_t>(size) : SIZE_MAX;
}

size_t page_bytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

}  // namespace

bool Memory::allocate(size_t bytes, Block& block) {
  static const size_t physical = physical_bytes();
  if (bytes > physical) return false;
  const size_t size = round_up(bytes ? bytes : 1, kAlign);
  std::lock_guard<std::mutex> lock(mutex_);
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
      munmap(data, take);
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
    std::lock_guard<std::mutex> lock(mutex_);
    held_ -= gone.bytes;
    if (--mapping->blocks) {
      // Its place is not used again, but the pages that it had to itself go back now.
      const uintptr_t from = round_up(reinterpret_cast<uintptr_t>(gone.data), page_bytes());
      const uintptr_t to = (reinterpret_cast<uintptr_t>(gone.data) + gone.bytes) / page_bytes() * page_bytes();
      if (from < to) madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
      return;
    }
    if (mapping == shared_) shared_ = nullptr;
  }
  munmap(mapping->data, mapping->bytes);
  delete mapping;
}

size_t Memory::held() {
  std::lock_guard<std::mutex> lock(mutex_);
  return held_;
}

}  // namespace openelm
