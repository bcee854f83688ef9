// See system.h.
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#if defined(_WIN32)
#include <io.h>
#include <windows.h>

#include <string>
#else
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace openelm {

#if defined(_WIN32)

uint8_t* map_pages(size_t bytes) {
  return static_cast<uint8_t*>(VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE));
}

void unmap_pages(uint8_t* data, size_t) { VirtualFree(data, 0, MEM_RELEASE); }

void discard_pages(uint8_t* data, size_t bytes) { VirtualFree(data, bytes, MEM_DECOMMIT); }

size_t page_bytes() {
  SYSTEM_INFO info;
  GetSystemInfo(&info);
  return info.dwPageSize;
}

size_t physical_bytes() {
  MEMORYSTATUSEX status = {};
  status.dwLength = sizeof status;
  return GlobalMemoryStatusEx(&status) ? static_cast<size_t>(status.ullTotalPhys) : SIZE_MAX;
}

int open_file(const char* path) {
  const int length = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, nullptr, 0);
  std::wstring wide(static_cast<size_t>(length > 0 ? length : 1), L'\0');
  if (length <= 0 || !MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide.data(), length)) {
    errno = ENOENT;
    return -1;
  }
  return _wopen(wide.c_str(), _O_RDONLY | _O_BINARY | _O_NOINHERIT);
}

int64_t read_at(int file, void* to, size_t bytes, int64_t offset) {
  OVERLAPPED place = {};
  place.Offset = static_cast<DWORD>(offset);
  place.OffsetHigh = static_cast<DWORD>(offset >> 32);
  DWORD got = 0;
  const DWORD most = bytes < (size_t(1) << 30) ? static_cast<DWORD>(bytes) : DWORD(1) << 30;
  if (ReadFile(reinterpret_cast<HANDLE>(_get_osfhandle(file)), to, most, &got, &place)) return got;
  if (GetLastError() == ERROR_HANDLE_EOF) return 0;
  errno = EIO;
  return -1;
}

void close_file(int file) { _close(file); }

#else

uint8_t* map_pages(size_t bytes) {
  constexpr size_t kHugePage = size_t(2) << 20;
  const size_t slack = bytes >= kHugePage ? kHugePage : 0;
  void* at = mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  uint8_t* data = static_cast<uint8_t*>(at);
  if (slack) {
    uint8_t* aligned = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(data) + kHugePage - 1) / kHugePage * kHugePage);
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

void unmap_pages(uint8_t* data, size_t bytes) { munmap(data, bytes); }

void discard_pages(uint8_t* data, size_t bytes) { madvise(data, bytes, MADV_DONTNEED); }

size_t page_bytes() {
  static const size_t bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return bytes;
}

size_t physical_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? static_cast<size_t>(pages) * static_cast<size_t>(size) : SIZE_MAX;
}

int open_file(const char* path) { return open(path, O_RDONLY | O_CLOEXEC); }

int64_t read_at(int file, void* to, size_t bytes, int64_t offset) {
  for (;;) {
    const ssize_t got = pread(file, to, bytes, static_cast<off_t>(offset));
    if (got >= 0 || errno != EINTR) return got;
  }
}

void close_file(int file) { close(file); }

#endif

}  // namespace openelm
