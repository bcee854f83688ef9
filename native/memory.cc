// See memory.h.
#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace openelm {

namespace {

constexpr size_t kAlign = 256;
constexpr size_t kHugePage = size_t(2) << 20;
constexpr size_t kSharedBytes = size_t(8) << 20;
constexpr size_t kOwnMapping = size_t(1) << 20;   // from this size on

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

}  // namespace

bool Memory::allocate(size_t bytes, Block& block) {
  static const size_t physical = physical_bytes();
  static const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (bytes > physical) return false;
  const size_t size = round_up(bytes ? bytes : 1, kAlign);
  std::lock_guard<std::mutex> lock(mutex_);
  const bool own = size >= kOwnMapping;
  Mapping* mapping = own ? nullptr : shared_;
  if (!mapping || mapping->bytes - mapping->used < size) {
    const size_t take = own ? round_up(size, page) : kSharedBytes;
    // More than the machine has would be promised by the system all the same, and the process killed when it is used.
    if (take > physical - mapped_) return false;
    uint8_t* data = map_pages(take);
    if (!data) return false;
    Mapping* made = new (std::nothrow) Mapping{data, take, 0, 0};
    if (!made) {
      munmap(data, take);
      return false;
    }
    mapped_ += take;
    mapping = made;
    if (!own) shared_ = made;   // the full one lives on through its blocks
  }
  block = {mapping->data + mapping->used, size, mapping};
  mapping->used += size;
  mapping->blocks++;
  return true;
}

void Memory::release(Block& block) {
  Mapping* mapping = block.mapping;
  if (!mapping) return;
  block = {};
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--mapping->blocks) return;
    mapped_ -= mapping->bytes;
    if (mapping == shared_) shared_ = nullptr;
  }
  munmap(mapping->data, mapping->bytes);
  delete mapping;
}

size_t Memory::mapped() {
  std::lock_guard<std::mutex> lock(mutex_);
  return mapped_;
}

}  // namespace openelm
