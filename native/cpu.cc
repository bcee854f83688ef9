#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) || defined(_M_ARM64)
#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(_WIN32)
#include <windows.h>
#endif
#endif

namespace openelm {

#if defined(__x86_64__)
namespace {
// Not all compilers have a name for it: leaf 7.1, bit 4 of EAX.
bool has_avxvnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
}  // namespace

std::vector<const KernelTable*> kernels_of_this_cpu() {
  std::vector<const KernelTable*> tables = {kernels_plain()};
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return tables;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  tables.push_back(kernels_avx2());
  if (has_avxvnni()) tables.push_back(kernels_avxvnni());
  else if (vnni) tables.push_back(kernels_avxvnni_evex());   // AVX-512's encoding of the same instruction: slower than "vnni", here to be tested
  if (avx512) tables.push_back(kernels_avx512());
  if (vnni) tables.push_back(kernels_vnni());
  return tables;
}
#elif defined(__aarch64__) || defined(_M_ARM64)
namespace {
enum Feature { kDotProducts, kInt8Matrices };

bool has(Feature feature) {
#if defined(__linux__)
  return feature == kDotProducts ? getauxval(AT_HWCAP) >> 20 & 1 : getauxval(AT_HWCAP2) >> 13 & 1;   // HWCAP_ASIMDDP, HWCAP2_I8MM
#elif defined(__APPLE__)
  int value = 0;
  size_t size = sizeof value;
  const char* name = feature == kDotProducts ? "hw.optional.arm.FEAT_DotProd" : "hw.optional.arm.FEAT_I8MM";
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
#elif defined(_WIN32)
  return IsProcessorFeaturePresent(feature == kDotProducts ? 43 : 66);   // PF_ARM_V82_DP_.., PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE
#else
  (void)feature;
  return false;
#endif
}
}  // namespace

std::vector<const KernelTable*> kernels_of_this_cpu() {
  std::vector<const KernelTable*> tables = {kernels_plain(), kernels_neon()};
  if (!has(kDotProducts)) return tables;
  tables.push_back(kernels_dotprod());
  if (has(kInt8Matrices)) tables.push_back(kernels_i8mm());
  return tables;
}
#else
std::vector<const KernelTable*> kernels_of_this_cpu() { return {kernels_plain()}; }
#endif

}  // namespace openelm
