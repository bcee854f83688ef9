// Random numbers and matrices for check.cc: as they are stored, as a weight should hold them, and packed by the kernels under test.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/kernels.h"

using namespace openelm;
using std::vector;

static std::mt19937 rng(1);
static double gauss() { return std::normal_distribution<double>()(rng); }
static int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(rng); }
static vector<float> random_floats(size_t n, double scale = 1) {
  vector<float> v(n);
  for (auto& x : v) x = (float)(gauss() * scale);
  return v;
}

// ---- 16-bit floats, by search of nothing: scaled integers

static double half_value(uint16_t h) {
  int e = h >> 10 & 31, m = h & 1023;
  double v = e == 31 ? (m ? NAN : INFINITY) : e ? std::ldexp(1024 + m, e - 25) : std::ldexp(m, -24);
  return h & 0x8000 ? -v : v;
}
static uint16_t to_half(double x) {   // nearest, ties to even
  uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  x = std::fabs(x);
  if (std::isnan(x)) return 0x7e00;
  int e = x > 0 ? std::max(std::ilogb(x), -14) : -14;
  double m = std::nearbyint(std::ldexp(x, 10 - e));
  uint32_t h = (uint32_t)m + (uint32_t)(e + 14) * 1024;
  return (uint16_t)(sign | std::min(h, 0x7c00u));
}
static float bf16_value(uint16_t b) { uint32_t u = (uint32_t)b << 16; float f; memcpy(&f, &u, 4); return f; }
static uint16_t to_bf16(float f) { uint32_t u; memcpy(&u, &f, 4); return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16); }

struct Source {   // a row-major matrix as stored
  DType dtype;
  vector<uint8_t> bytes;
  vector<float> values;
};
static Source source_of(DType dtype, const vector<float>& v) {
  Source s{dtype, {}, v};
  s.bytes.resize(v.size() * (dtype == kF32 ? 4 : 2));
  for (size_t i = 0; i < v.size(); i++) {
    uint16_t h = dtype == kF16 ? to_half(v[i]) : to_bf16(v[i]);
    if (dtype == kF32) memcpy(&s.bytes[i * 4], &v[i], 4);
    else memcpy(&s.bytes[i * 2], &h, 2), s.values[i] = dtype == kF16 ? (float)half_value(h) : bf16_value(h);
  }
  return s;
}

// What a weight should hold: values, and codes, scales and minimums by groups of 32 for quantized ones.
struct Expected {
  vector<float> values;
  vector<int> codes;
  vector<float> scales, minimums;
};
static Expected expected_of(DType dtype, const vector<float>& v, int rows, int columns) {
  Expected e{v, {}, {}, {}};
  if (dtype == kF16) for (auto& x : e.values) x = (float)half_value(to_half(x));
  if (dtype == kBF16) for (auto& x : e.values) x = bf16_value(to_bf16(x));
  if (dtype != kQ8 && dtype != kQ4) return e;
  const int groups = (columns + 31) / 32;
  e.codes.assign((size_t)rows * groups * 32, 0);
  e.scales.resize((size_t)rows * groups);
  e.minimums.assign((size_t)rows * groups, 0);
  for (int r = 0; r < rows; r++)
    for (int g = 0; g < groups; g++) {
      float top = 0, peak = 0;
      for (int k = g * 32; k < std::min(columns, g * 32 + 32); k++) {
        float x = v[(size_t)r * columns + k];
        if (std::fabs(x) > top) top = std::fabs(x), peak = x;
      }
      volatile float d = dtype == kQ8 ? top / 127 : peak / -8;
      volatile float inverse = d != 0 ? 1 / d : 0;
      float scale = (float)half_value(to_half(d));
      e.scales[(size_t)r * groups + g] = scale;
      for (int k = g * 32; k < std::min(columns, g * 32 + 32); k++) {
        volatile float product = v[(size_t)r * columns + k] * inverse, shifted = product + 8.5f;
        int q = dtype == kQ8 ? (int)std::round(product) : std::min(15, (int)shifted) - 8;
        e.codes[((size_t)r * groups + g) * 32 + k % 32] = q;
        e.values[(size_t)r * columns + k] = (float)q * scale;
      }
    }
  return e;
}

struct Packed : Weight {
  vector<uint8_t> memory, scale_memory, minimum_memory;
  Packed(DType d, int r, int c, int g) : Weight{d, r, c, nullptr, nullptr, nullptr, g} {
    data = room(memory, weight_bytes(d, r, c));
    scales = (uint16_t*)room(scale_memory, scale_bytes(*this));
    minimums = (uint16_t*)room(minimum_memory, scale_bytes(*this));
  }
  Packed(const KernelTable& t, DType d, const Source& s, int r, int c) : Packed(d, r, c, kGroup) {
    put(t, {Stored::kElements, s.dtype, 0}, s.bytes.data());
  }
  void put(const KernelTable& t, Stored stored, const uint8_t* bytes) {
    const int half = rows / 32 * 16;   // in two parts
    t.pack_rows(*this, stored, bytes, 0, half ? half : rows);
    if (half) t.pack_rows(*this, stored, bytes + half * row_bytes(stored, *this), half, rows - half);
  }
  static uint8_t* room(vector<uint8_t>& memory, int64_t bytes) {
    memory.assign(bytes + 64, 0xaa);
    return (uint8_t*)(((uintptr_t)memory.data() + 63) & ~(uintptr_t)63);
  }
};

// An affine matrix of random codes of so many bits, stored end to end, scales and minimums in either type.
static Expected affine_of(const KernelTable& t, Packed& w, int bits) {
  const size_t n = (size_t)w.rows * w.columns, scaled = (size_t)w.rows * w.groups();
  Expected e{vector<float>(n), vector<int>(n), vector<float>(n / kGroup), vector<float>(n / kGroup)};
  vector<uint8_t> stored(n * bits / 8);
  for (size_t i = 0; i < n; i++) {
    e.codes[i] = pick(0, (1 << bits) - 1);
    for (int b = 0; b < bits; b++) stored[(i * bits + b) / 8] |= (uint8_t)((e.codes[i] >> b & 1) << (i * bits + b) % 8);
  }
  const DType dtype = pick(0, 1) ? kF16 : kBF16;
  const Source scales = source_of(dtype, random_floats(scaled, 0.02)), minimums = source_of(dtype, random_floats(scaled, 0.1));
  w.put(t, {Stored::kCodes, kF32, bits}, stored.data());
  w.put(t, {Stored::kScales, dtype, 0}, scales.bytes.data());
  w.put(t, {Stored::kMinimums, dtype, 0}, minimums.bytes.data());
  for (size_t i = 0; i < n; i++) {
    const float scale = (float)half_value(to_half(scales.values[i / w.group])), minimum = (float)half_value(to_half(minimums.values[i / w.group]));
    e.scales[i / kGroup] = scale;
    e.minimums[i / kGroup] = minimum;
    volatile float product = (float)e.codes[i] * scale;
    e.values[i] = product + minimum;
  }
  return e;
}
