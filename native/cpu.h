// Which instruction sets of the kernels this machine has.
#pragma once
#include <vector>

#include "kernels/kernels.h"

namespace openelm {

// Each above the one before it, plain C++ first.
std::vector<const KernelTable*> kernels_of_this_cpu();

}  // namespace openelm
