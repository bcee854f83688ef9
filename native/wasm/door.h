// What the parts of the WASM door know of each other.
#pragma once
#include "../kernels/kernels.h"

namespace openelm {

// Milliseconds that some int8 products take, of q8 and of q4 weights; below zero: they are wrong.
double probe(const KernelTable& table, double (*now)());

}  // namespace openelm
