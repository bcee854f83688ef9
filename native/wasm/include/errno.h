#pragma once
#include_next <errno.h>
#undef errno
extern "C" int openelm_errno;   // libc's own is thread-local, which a libc without threads cannot be linked with
#define errno openelm_errno
