// Linked into prebuilt Linux addons only: what lets one file run on glibc from 2.28 on and on musl, though it was linked on a newer
// glibc. libstdc++ and libgcc are inside, so only the C library's symbols remain; those that got a newer version since, or that
// musl lacks, are given here. musl's loader takes libc.so.6 and libm.so.6 for itself and knows no versions of symbols.
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/random.h>

#if defined(__x86_64__)
#define FIRST_VERSION "GLIBC_2.2.5"
#else
#define FIRST_VERSION "GLIBC_2.17"
#endif

// The linker sends calls of `name` to __wrap_name (--wrap); those of glibc's oldest version are the same functions.
#define FORWARD(name, result, parameters, arguments)               \
  result first_##name parameters;                                  \
  __asm__(".symver first_" #name "," #name "@" FIRST_VERSION);     \
  result __wrap_##name parameters { return first_##name arguments; }

extern "C" {

FORWARD(pthread_create, int, (pthread_t* thread, const pthread_attr_t* how, void* (*run)(void*), void* with), (thread, how, run, with))
FORWARD(pthread_detach, int, (pthread_t thread), (thread))
FORWARD(pthread_join, int, (pthread_t thread, void** result), (thread, result))
FORWARD(pthread_once, int, (pthread_once_t* once, void (*run)()), (once, run))
FORWARD(pthread_attr_setstacksize, int, (pthread_attr_t* how, size_t bytes), (how, bytes))
FORWARD(pthread_key_create, int, (pthread_key_t* key, void (*end)(void*)), (key, end))
FORWARD(pthread_key_delete, int, (pthread_key_t key), (key))
FORWARD(pthread_getspecific, void*, (pthread_key_t key), (key))
FORWARD(pthread_setspecific, int, (pthread_key_t key, const void* value), (key, value))
FORWARD(exp, double, (double x), (x))
FORWARD(log, double, (double x), (x))
FORWARD(pow, double, (double x, double y), (x, y))

// libstdc++ asks whether the process has threads: it does.
char __libc_single_threaded = 0;

// libgcc takes its presence for that of threads.
int __pthread_key_create(pthread_key_t* key, void (*end)(void*)) { return first_pthread_key_create(key, end); }

uint32_t arc4random() {
  uint32_t value = 0;
  (void)!getrandom(&value, sizeof value, 0);
  return value;
}

struct Search {
  uintptr_t address;
  dl_find_object* found;
};

// libgcc's unwinder looks exception tables up with it (glibc 2.35); this is how it did so before.
int _dl_find_object(void* address, dl_find_object* found) {
  Search search{reinterpret_cast<uintptr_t>(address), found};
  const auto visit = [](dl_phdr_info* object, size_t, void* data) {
    Search& wanted = *static_cast<Search*>(data);
    uintptr_t start = 0, end = 0, tables = 0;
    for (int i = 0; i < object->dlpi_phnum; i++) {
      const auto& part = object->dlpi_phdr[i];
      const uintptr_t at = object->dlpi_addr + part.p_vaddr;
      if (part.p_type == PT_GNU_EH_FRAME) tables = at;
      if (part.p_type != PT_LOAD || wanted.address < at || wanted.address >= at + part.p_memsz) continue;
      start = at;
      end = at + part.p_memsz;
    }
    if (start == 0 || tables == 0) return 0;
    *wanted.found = {};
    wanted.found->dlfo_map_start = reinterpret_cast<void*>(start);
    wanted.found->dlfo_map_end = reinterpret_cast<void*>(end);
    wanted.found->dlfo_eh_frame = reinterpret_cast<void*>(tables);
    return 1;
  };
  return dl_iterate_phdr(visit, &search) == 1 ? 0 : -1;
}

}  // extern "C"
