// What the operating system gives: pages of memory, and files that are read by position. The same calls on Linux, macOS and
// Windows; nothing of buffers, programs or models.
#pragma once

#include <cstddef>
#include <cstdint>

namespace openelm {

/** Zeroed memory of whole pages, aligned to a huge page where it is as large as one; nullptr when there is none. */
uint8_t* map_pages(size_t bytes);
void unmap_pages(uint8_t* data, size_t bytes);
/** Gives the pages in [data, data + bytes) back; what they held is lost and they must not be used again. */
void discard_pages(uint8_t* data, size_t bytes);
size_t page_bytes();
/** Of the machine; SIZE_MAX when it does not tell. */
size_t physical_bytes();

/** A file for reading, its name in UTF-8; -1 with `errno` when it cannot be opened. */
int open_file(const char* path);
/** Bytes read at `offset`, 0 at the file's end, -1 with `errno`. */
int64_t read_at(int file, void* to, size_t bytes, int64_t offset);
void close_file(int file);

}  // namespace openelm
