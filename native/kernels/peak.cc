// What one thread's multiply-add units can do when nothing else is in the way: twelve independent chains, best of a few runs
// that take some 50 ms together.
#include <time.h>

#include "internal.h"

namespace openelm::OPENELM_ISA {

static double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double best_rate(void (*spin)(long), double work) {
  const long turns = 20000;
  double best = 1e9;
  const double end = now() + 0.05;
  while (now() < end) {
    double t = now();
    spin(turns);
    t = now() - t;
    best = t < best ? t : best;
  }
  return work * (double)turns / best;
}

#if defined(__x86_64__) && defined(__AVX2__)
#define TWELVE(OP) OP(0) OP(1) OP(2) OP(3) OP(4) OP(5) OP(6) OP(7) OP(8) OP(9) OP(10) OP(11)
#if defined(__AVX512F__)
#define REGISTER "zmm"
#define CLEAR "vpxord %%zmm14, %%zmm14, %%zmm14\nvpxord %%zmm15, %%zmm15, %%zmm15\n"
#else
#define REGISTER "ymm"
#define CLEAR "vpxor %%ymm14, %%ymm14, %%ymm14\nvpxor %%ymm15, %%ymm15, %%ymm15\n"
#endif
#define THREE(op, a, b, c) op " %%" REGISTER a ", %%" REGISTER b ", %%" REGISTER c "\n"
#define FMA(i) THREE("vfmadd231ps", "14", "15", #i)
#if defined(OPENELM_VNNI) && !defined(__AVX512F__) && !defined(OPENELM_EVEX)
#define DOT(i) THREE("%{vex%} vpdpbusd", "14", "15", #i)
#elif defined(OPENELM_VNNI)
#define DOT(i) THREE("vpdpbusd", "14", "15", #i)
#else
#define DOT(i) THREE("vpmaddubsw", "14", "15", "13") THREE("vpmaddwd", "13", "14", "13") THREE("vpaddd", "13", #i, #i)
#endif
#define LOOP(OP)                                                                                                           \
  asm volatile(CLEAR "1:\n" TWELVE(OP) TWELVE(OP) "dec %0\njnz 1b\n"                                                       \
               : "+r"(turns)                                                                                               \
               :                                                                                                           \
               : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", \
                 "xmm13", "xmm14", "xmm15")
static void spin_f32(long turns) { LOOP(FMA); }
static void spin_int8(long turns) { LOOP(DOT); }
double peak_f32() { return best_rate(spin_f32, 24.0 * W); }
double peak_int8() { return best_rate(spin_int8, 24.0 * W * 4); }
#else
// Where there are no integer products, int8 runs on the float units too.
static void spin_f32(long turns) {
  vf a[12] = {};
  vf x = {}, y = {};
  for (; turns > 0; turns--) {
    asm volatile("" : "+m"(x), "+m"(y));
    vf u = x, v = y;
    UNROLL
    for (int i = 0; i < 12; i++) a[i] = fma(u, v, a[i]);
    UNROLL
    for (int i = 0; i < 12; i++) a[i] = fma(u, v, a[i]);
  }
  asm volatile("" : : "m"(a));
}
double peak_f32() { return best_rate(spin_f32, 24.0 * W); }
#if defined(OPENELM_NEON)
static void spin_int8(long turns) {
  int32x4_t a[12] = {};
  int8x16_t x = {}, y = {};
  for (; turns > 0; turns--) {
    asm volatile("" : "+w"(x), "+w"(y));
    for (int twice = 0; twice < 2; twice++) {
      UNROLL
      for (int i = 0; i < 12; i++) {
#if defined(OPENELM_I8MM)
        a[i] = vusmmlaq_s32(a[i], vreinterpretq_u8_s8(x), y);
#elif defined(OPENELM_DOTPROD)
        a[i] = vdotq_s32(a[i], x, y);
#else
        a[i] = vpadalq_s16(a[i], vpaddq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)), vmull_high_s8(x, y)));
        asm volatile("" : "+w"(x));   // the products are the same in every turn of the loop
#endif
      }
    }
  }
  asm volatile("" : : "m"(a));
}
#if defined(OPENELM_I8MM)
double peak_int8() { return best_rate(spin_int8, 24.0 * 32); }
#else
double peak_int8() { return best_rate(spin_int8, 24.0 * 16); }
#endif
#else
double peak_int8() { return peak_f32(); }
#endif
#endif

}  // namespace openelm::OPENELM_ISA
