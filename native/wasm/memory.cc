// Memory of WebAssembly (see ../memory.h): one linear memory that only grows, so freed places are handed out again, cleared, the
// lowest first and joined with their neighbours. malloc and operator new are cut from it too: small sizes by class. Locks spin:
// they are held for some instructions, and a page's main thread may not wait.
#include "../memory.h"

#include <string.h>

#include <atomic>
#include <new>

namespace openelm {
namespace {

constexpr uint32_t kAlign = 256, kPage = 65536;

std::atomic<uint32_t> held_word{0};
struct Spin {
  Spin() { while (held_word.exchange(1, std::memory_order_acquire)) {} }
  ~Spin() { held_word.store(0, std::memory_order_release); }
};

// Free places in order of address.
struct Place { uint32_t at, bytes, dirty; };
constexpr int kMostPlaces = 16384;
Place places[kMostPlaces];
int count = 0;

void remove(int i) {
  memmove(places + i, places + i + 1, static_cast<size_t>(--count - i) * sizeof(Place));
}

void give_back(uint32_t at, uint32_t bytes, uint32_t dirty) {
  int low = 0, high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (places[middle].at < at) low = middle + 1;
    else high = middle;
  }
  Place* before = low > 0 && places[low - 1].at + places[low - 1].bytes == at ? places + low - 1 : nullptr;
  Place* after = low < count && at + bytes == places[low].at ? places + low : nullptr;
  if (before) {
    before->bytes += bytes;
    before->dirty |= dirty;
    if (after) {
      before->bytes += after->bytes;
      before->dirty |= after->dirty;
      remove(low);
    }
  } else if (after) {
    *after = {at, after->bytes + bytes, after->dirty | dirty};
  } else if (count < kMostPlaces) {   // else it is lost
    memmove(places + low + 1, places + low, static_cast<size_t>(count++ - low) * sizeof(Place));
    places[low] = {at, bytes, dirty};
  }
}

// 0: out of memory. `dirty`: whether it must be cleared.
uint32_t take(uint32_t bytes, bool& dirty) {
  for (int tries = 0; tries < 2; tries++) {
    for (int i = 0; i < count; i++) {
      Place& place = places[i];
      if (place.bytes < bytes) continue;
      const uint32_t at = place.at;
      dirty = place.dirty;
      place.at += bytes;
      place.bytes -= bytes;
      if (!place.bytes) remove(i);
      return at;
    }
    // What is free at the end need not be grown again.
    const Place* last = count && uint64_t(places[count - 1].at) + places[count - 1].bytes == uint64_t(__builtin_wasm_memory_size(0)) * kPage
                            ? places + count - 1 : nullptr;
    const uint32_t pages = static_cast<uint32_t>((uint64_t(bytes) - (last ? last->bytes : 0) + kPage - 1) / kPage);
    const size_t before = __builtin_wasm_memory_grow(0, pages);
    if (before == SIZE_MAX) return 0;
    give_back(static_cast<uint32_t>(before * kPage), pages * kPage, 0);
  }
  return 0;
}

// malloc: sizes of 16 << n up to 64 KiB in lists, larger ones straight from the places. A header of 16 bytes says which.
constexpr uint32_t kHeader = 16, kSlab = 1 << 18;
constexpr int kClasses = 13;
struct Free { Free* next; };
Free* lists[kClasses];
uint32_t slab = 0, slab_end = 0;

void* heap_take(size_t bytes) {
  if (bytes > UINT32_MAX - 2 * kPage) return nullptr;
  const Spin spin;
  int n = 0;
  while (n < kClasses && (uint32_t(16) << n) < bytes + kHeader) n++;
  uint32_t at, size = uint32_t(16) << n;
  bool dirty;
  if (n == kClasses) {
    size = static_cast<uint32_t>((bytes + kHeader + kAlign - 1) / kAlign * kAlign);
    at = take(size, dirty);
    if (!at) return nullptr;
  } else if (lists[n]) {
    at = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(lists[n]));
    lists[n] = lists[n]->next;
  } else {
    if (slab_end - slab < size) {
      slab = take(kSlab, dirty);
      slab_end = slab ? slab + kSlab : 0;
      if (!slab) return nullptr;
    }
    at = slab;
    slab += size;
  }
  uint32_t* header = reinterpret_cast<uint32_t*>(at);
  header[0] = static_cast<uint32_t>(n);
  header[1] = size;
  return reinterpret_cast<void*>(at + kHeader);
}

void heap_give(void* data) {
  if (!data) return;
  const Spin spin;
  const uint32_t at = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(data)) - kHeader;
  const uint32_t* header = reinterpret_cast<const uint32_t*>(at);
  if (header[0] == kClasses) return give_back(at, header[1], 1);
  Free* free = reinterpret_cast<Free*>(at);
  Free** list = lists + header[0];
  free->next = *list;
  *list = free;
}

}  // namespace

bool Memory::allocate(uint64_t bytes, Block& block) {
  if (bytes > UINT32_MAX - 2 * kPage) return false;
  const uint32_t size = static_cast<uint32_t>(((bytes ? bytes : 1) + kAlign - 1) / kAlign * kAlign);
  bool dirty = false;
  uint32_t at;
  {
    const Spin spin;
    at = take(size, dirty);
    if (!at) return false;
    held_ += size;
  }
  if (dirty) memset(reinterpret_cast<void*>(at), 0, size);
  block = {reinterpret_cast<uint8_t*>(at), size, nullptr};
  return true;
}

void Memory::release(Block& block) {
  if (!block.data) return;
  const Spin spin;
  held_ -= block.bytes;
  give_back(static_cast<uint32_t>(reinterpret_cast<uintptr_t>(block.data)), static_cast<uint32_t>(block.bytes), 1);
  block = {};
}

size_t Memory::held() {
  const Spin spin;
  return held_;
}

}  // namespace openelm

extern "C" {
__attribute__((export_name("malloc"))) void* malloc(size_t bytes) { return openelm::heap_take(bytes); }
__attribute__((export_name("free"))) void free(void* data) { openelm::heap_give(data); }
}

// A queue's task that finds no memory is the end of the backend: the door tells every caller so.
void* operator new(size_t bytes) {
  void* data = openelm::heap_take(bytes);
  if (!data) __builtin_trap();
  return data;
}
void* operator new[](size_t bytes) { return operator new(bytes); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return openelm::heap_take(bytes); }
// The pool's slots, which live as long as it does: never given back.
void* operator new(size_t bytes, std::align_val_t align) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(operator new(bytes + static_cast<size_t>(align)));
  return reinterpret_cast<void*>((at + static_cast<size_t>(align)) / static_cast<size_t>(align) * static_cast<size_t>(align));
}
void* operator new[](size_t bytes, std::align_val_t align) { return operator new(bytes, align); }
void operator delete(void* data) noexcept { openelm::heap_give(data); }
void operator delete[](void* data) noexcept { openelm::heap_give(data); }
void operator delete(void* data, size_t) noexcept { openelm::heap_give(data); }
void operator delete[](void* data, size_t) noexcept { openelm::heap_give(data); }
void operator delete(void*, std::align_val_t) noexcept {}
void operator delete[](void*, std::align_val_t) noexcept {}
void operator delete(void*, size_t, std::align_val_t) noexcept {}
void operator delete[](void*, size_t, std::align_val_t) noexcept {}
