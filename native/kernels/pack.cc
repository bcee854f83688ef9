// Stored matrices into weight panels, and any stored type to f32. A block of 16 rows is transposed to f32 [columns][16], where
// each row is a lane: rounding and packing then go straight down. f16 to f16 and bf16 to bf16 move 16-bit words only. Parts of a
// matrix that is stored as codes are only put in their places.
#include "codes.h"

namespace openelm::OPENELM_ISA {

template <class T>
static void widen(const T* src, float* out, int64_t count) {
  int64_t i = 0;
  for (; i + W <= count; i += W) store(out + i, load(src + i));
  for (; i < count; i++) out[i] = element(src + i);
}

void to_f32(DType source, const void* src, float* out, int64_t count) {
  switch (source) {
    case kF16: return widen((const half_t*)src, out, count);
    case kBF16: return widen((const bfloat_t*)src, out, count);
    default: return widen((const float*)src, out, count);
  }
}

// ---- 16-bit words

#if defined(__wasm_simd128__)
INLINE void interleave(v128_t a, v128_t b, v128_t* out) {
  out[0] = wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  out[1] = wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}
#endif

// out[k][16] = rows[lane][k]; lanes without a row (null) are 0.
static void transpose_words(const uint16_t* const* rows, int64_t count, uint16_t* out) {
  int64_t k = 0;
#if defined(__AVX2__)
  for (; k + 16 <= count; k += 16) {
    __m256i a[16], b[16];
    UNROLL
    for (int i = 0; i < 16; i++) {
      a[i] = rows[i] ? _mm256_loadu_si256((const __m256i*)(rows[i] + k)) : _mm256_setzero_si256();
      if (rows[i]) __builtin_prefetch(rows[i] + k + 128);
    }
    UNROLL
    for (int i = 0; i < 8; i++) {   // pairs (i, i + 8), so that three rounds of doubling bring rows into order
      b[2 * i] = _mm256_unpacklo_epi16(a[i], a[i + 8]);
      b[2 * i + 1] = _mm256_unpackhi_epi16(a[i], a[i + 8]);
    }
    UNROLL
    for (int i = 0; i < 8; i++) {
      a[2 * i] = _mm256_unpacklo_epi16(b[i], b[i + 8]);
      a[2 * i + 1] = _mm256_unpackhi_epi16(b[i], b[i + 8]);
    }
    UNROLL
    for (int i = 0; i < 8; i++) {
      b[2 * i] = _mm256_unpacklo_epi16(a[i], a[i + 8]);
      b[2 * i + 1] = _mm256_unpackhi_epi16(a[i], a[i + 8]);
    }
    // b[j]: the even or odd rows of column j (low half) and j + 8 (high half).
    UNROLL
    for (int i = 0; i < 8; i++) {
      __m256i low = _mm256_unpacklo_epi16(b[i], b[i + 8]), high = _mm256_unpackhi_epi16(b[i], b[i + 8]);
      _mm256_storeu_si256((__m256i*)(out + (k + i) * kPanel), _mm256_permute2x128_si256(low, high, 0x20));
      _mm256_storeu_si256((__m256i*)(out + (k + i + 8) * kPanel), _mm256_permute2x128_si256(low, high, 0x31));
    }
  }
#elif defined(__wasm_simd128__)
  for (; k + 8 <= count; k += 8)
    for (int half = 0; half < kPanel; half += 8) {
      v128_t a[8], b[8];
      UNROLL
      for (int i = 0; i < 8; i++) a[i] = rows[half + i] ? wasm_v128_load(rows[half + i] + k) : wasm_i64x2_const_splat(0);
      UNROLL
      for (int i = 0; i < 4; i++) interleave(a[i], a[i + 4], b + 2 * i);   // so that three rounds bring rows into order
      UNROLL
      for (int i = 0; i < 4; i++) interleave(b[i], b[i + 4], a + 2 * i);
      UNROLL
      for (int i = 0; i < 4; i++) interleave(a[i], a[i + 4], b + 2 * i);
      UNROLL
      for (int i = 0; i < 8; i++) wasm_v128_store(out + (k + i) * kPanel + half, b[i]);
    }
#endif
  for (; k < count; k++)
    for (int i = 0; i < kPanel; i++) out[k * kPanel + i] = rows[i] ? rows[i][k] : 0;
}

// ---- From transposed f32

template <class T>
static void narrow(const float* x, int64_t count, T* out) {
  for (int64_t i = 0; i < count; i += W) store(out + i, load(x + i));
}

// Rounds half away from zero.
INLINE vi round_away(vf v) {
  vi t = truncate(v);
  vf rest = v - to_float(t);
  return t - (rest >= 0.5f) + (rest <= -0.5f);   // true is -1
}
INLINE vf clamped(vf v, float low, float high) {
  v = v > high ? splat(high) : v;
  return v < low ? splat(low) : v;
}
INLINE vf reciprocal(vf d) { return d != 0.0f ? 1.0f / d : (vf){}; }
INLINE void store_scales(uint16_t* out, vf d) { store((half_t*)out, d); }

// A group with an element that is not a number gets such a scale, in both types.
// GGUF's Q8_0: d = max|x| / 127, q = round(x / d); the inverse is of d before it becomes f16.
static void quantize8(const float* x, int64_t groups, uint8_t* out, uint16_t* scales) {
  for (int64_t g = 0; g < groups; g++, x += kGroup * kPanel, out += 512, scales += kPanel)
    for (int lane = 0; lane < kPanel; lane += W) {
      vi top = {};   // by bits: what is not a number is the largest
      for (int k = 0; k < kGroup; k++) top = vmax_int(bits(vabs(load(x + k * kPanel + lane))), top);
      const vf d = from_bits(top) / 127.0f, inverse = reciprocal(d);
      store_scales(scales + lane, d);
      for (int k = 0; k < kGroup; k += 4) {
        vi q = {};
        UNROLL
        for (int t = 0; t < 4; t++)
          q |= ((round_away(clamped(load(x + (k + t) * kPanel + lane) * inverse, -127, 127)) + 128) & 255) << (8 * t);
        store_int(out + k * 16 + lane * 4, q);
      }
    }
}

// GGUF's Q4_0: d = the value of largest magnitude / -8, u = trunc(x / d + 8.5), at most 15.
static void quantize4(const float* x, int64_t groups, uint8_t* out, uint16_t* scales) {
  for (int64_t g = 0; g < groups; g++, x += kGroup * kPanel, out += 256, scales += kPanel)
    for (int lane = 0; lane < kPanel; lane += W) {
      vi top = {};
      vf peak = {};
      for (int k = 0; k < kGroup; k++) {
        const vf v = load(x + k * kPanel + lane);
        const vi size = bits(vabs(v));
        peak = size > top ? v : peak;
        top = vmax_int(size, top);
      }
      const vf d = peak / -8.0f, inverse = reciprocal(d);
      store_scales(scales + lane, d);
      for (int k = 0; k < kGroup; k += 8) {
        vi q = {};
        UNROLL
        for (int t = 0; t < 8; t++)   // eight inputs: four low nibbles, then four high ones
          q |= (truncate(clamped(load(x + (k + t) * kPanel + lane) * inverse + 8.5f, 0, 15)) & 15) << (t / 4 * 4 + t % 4 * 8);
        store_int(out + k * 8 + lane * 4, q);
      }
    }
}

template <class T>
static void pack_panel(const Weight& w, const T* const* rows, int64_t panel) {
  constexpr int64_t kBlock = 256;
  alignas(64) float x[kBlock * kPanel];
  const int64_t columns = w.columns, groups = padded(columns) / kGroup;
  for (int64_t k = 0; k < columns; k += kBlock) {
    const T* from[kPanel];
    for (int i = 0; i < kPanel; i++) from[i] = rows[i] ? rows[i] + k : nullptr;
    const int64_t count = smaller(kBlock, columns - k), at = (panel * columns + k) * kPanel;
    if (w.dtype == kF32) {
      load_transposed(from, count, (float*)w.data + at);
      continue;
    }
    load_transposed(from, count, x);
    if (w.dtype == kF16) narrow(x, count * kPanel, (half_t*)w.data + at);
    if (w.dtype == kBF16) narrow(x, count * kPanel, (bfloat_t*)w.data + at);
    if (!quantized(w.dtype)) continue;
    const int64_t here = up(count, kGroup), group = panel * groups + k / kGroup;
    memset(x + count * kPanel, 0, (size_t)((here * kGroup - count) * kPanel) * sizeof(float));
    uint16_t* scales = w.scales + group * kPanel;
    if (w.dtype == kQ8) quantize8(x, here, w.data + group * 512, scales);
    else quantize4(x, here, w.data + group * 256, scales);
  }
}

#if defined(__wasm_simd128__)
// Numbers of a panel as kernels read them, elements of f16 or scales of codes.
static void note_unusual(const Weight& w, const uint16_t* panel, int64_t count) {
  const v128_t mask = wasm_i16x8_splat(w.dtype == kQ8 ? (int16_t)0xfc00 : 0x7c00);   // with the sign: what is negative is above, too
  v128_t largest = wasm_i32x4_const_splat(0);
  for (int64_t i = 0; i < count; i += 8) largest = wasm_u16x8_max(largest, wasm_v128_and(wasm_v128_load(panel + i), mask));
  if (wasm_v128_any_true(wasm_u16x8_ge(largest, wasm_i16x8_const_splat(0x7c00)))) __atomic_store_n(&w.unusual, 1, __ATOMIC_RELAXED);
}
#endif

template <class T>
static void pack_source(const Weight& w, const T* src, int64_t row, int64_t count, bool words) {
  for (int64_t i = 0; i < count; i += kPanel) {
    const T* rows[kPanel] = {};
    for (int64_t j = 0; j < kPanel && i + j < count; j++) rows[j] = src + (i + j) * w.columns;
    const int64_t panel = (row + i) / kPanel;
    if (words) transpose_words((const uint16_t* const*)rows, w.columns, (uint16_t*)w.data + panel * w.columns * kPanel);
    else pack_panel(w, rows, panel);
  }
}

// ---- Matrices stored as codes

// A group of a row: 32 codes as eight words of four bytes.
template <int BITS>
static void four_by_four(const uint8_t* src, uint32_t* words) {
  uint8_t bytes[kGroup * BITS / 8 + 4];   // what is read reaches beyond the last code
  memcpy(bytes, src, kGroup * BITS / 8);
  for (int step = 0; step < 8; step++) {
    uint32_t v, four = 0;
    memcpy(&v, bytes + step * 4 * BITS / 8, 4);
    v >>= step * 4 * BITS % 8;
    UNROLL
    for (int t = 0; t < 4; t++) four |= (v >> (t * BITS) & ((1u << BITS) - 1)) << (8 * t);
    words[step] = four;
  }
}

// words: [8 steps][16 outputs]
static void place_group(DType type, const uint32_t* words, uint8_t* out) {
  auto put = [&](int line, int lane, uint32_t word) { memcpy(out + line * 64 + lane * 4, &word, 4); };
  for (int lane = 0; lane < kPanel; lane++) {
    const uint32_t* w = words + lane;
    uint32_t low[2] = {}, high = 0;
    for (int step = 0; step < 8; step++) {
      const uint32_t four = w[step * kPanel];
      if (type == kAffine8) put(step, lane, four);
      else if (type == kAffine4 && step % 2) put(step / 2, lane, w[(step - 1) * kPanel] | four << 4);
      low[step / 4] |= (four & 0x03030303) << (step % 4 * 2);
      high |= (four >> 2 & 0x01010101) << step;
    }
    if (type != kAffine3) continue;
    put(0, lane, low[0]);
    put(1, lane, low[1]);
    put(2, lane, high);
  }
}

template <int BITS>
static void pack_codes(const Weight& w, const uint8_t* src, int64_t row, int64_t count) {
  const int64_t groups = w.columns / kGroup, bytes = kGroup * BITS / 8;
  for (int64_t i = 0; i < count; i += kPanel) {
    uint8_t* out = w.data + (row + i) / kPanel * groups * group_bytes(w.dtype);
    for (int64_t g = 0; g < groups; g++, out += group_bytes(w.dtype)) {
      uint32_t words[8 * kPanel] = {};
      for (int64_t lane = 0; lane < smaller(kPanel, count - i); lane++) {
        uint32_t of_row[8];
        four_by_four<BITS>(src + ((i + lane) * groups + g) * bytes, of_row);
        for (int step = 0; step < 8; step++) words[step * kPanel + lane] = of_row[step];
      }
      place_group(w.dtype, words, out);
    }
  }
}

// Scales or minimums, one a group.
static void pack_factors(const Weight& w, DType source, const void* src, int64_t row, int64_t count, uint16_t* out) {
  const int64_t groups = w.groups();
  for (int64_t i = 0; i < count; i++)
    for (int64_t g = 0; g < groups; g++) {
      const int64_t from = i * groups + g;
      uint16_t* to = out + ((row + i) / kPanel * groups + g) * kPanel + (row + i) % kPanel;
      if (source == kF16) *to = ((const uint16_t*)src)[from];
      else *to = f32_to_f16(source == kBF16 ? element((const bfloat_t*)src + from) : ((const float*)src)[from]);
    }
}

// GGUF's blocks of 32: an f16 scale, then 32 signed codes (Q8_0), or 16 bytes of code i below code i + 16 (Q4_0).
static void pack_blocks(const Weight& w, const uint8_t* src, int64_t row, int64_t count) {
  const bool eight = w.dtype == kQ8;
  const int64_t groups = w.groups(), bytes = eight ? 34 : 18, made = eight ? 512 : 256;
  for (int64_t i = 0; i < count; i += kPanel) {
    const int64_t first = (row + i) / kPanel * groups, rows = smaller(kPanel, count - i);
    for (int64_t g = 0; g < groups; g++) {
      uint8_t* out = w.data + (first + g) * made;
      uint16_t* scales = w.scales + (first + g) * kPanel;
      memset(out, eight ? 128 : 0x88, (size_t)made);
      memset(scales, 0, kPanel * sizeof(uint16_t));
      for (int64_t lane = 0; lane < rows; lane++) {
        const uint8_t* block = src + ((i + lane) * groups + g) * bytes;
        memcpy(scales + lane, block, 2);
        if (eight) {
          for (int step = 0; step < 8; step++) {
            uint32_t four;
            memcpy(&four, block + 2 + 4 * step, 4);
            four ^= 0x80808080;
            memcpy(out + step * 64 + lane * 4, &four, 4);
          }
          continue;
        }
        uint32_t words[4];   // of bytes; low nibbles are the codes 0 to 15, high ones 16 to 31
        memcpy(words, block + 2, 16);
        for (int half = 0; half < 2; half++)
          for (int pair = 0; pair < 2; pair++) {
            const uint32_t low = words[2 * pair] >> (4 * half) & 0x0f0f0f0f, high = words[2 * pair + 1] >> (4 * half) & 0x0f0f0f0f;
            const uint32_t both = low | high << 4;
            memcpy(out + (2 * half + pair) * 64 + lane * 4, &both, 4);
          }
      }
    }
  }
}

static void pack_elements(const Weight& w, DType source, const void* src, int64_t row, int64_t count) {
  const bool words = source == w.dtype;
  if (quantized(source)) return pack_blocks(w, (const uint8_t*)src, row, count);
  if (source == kF16) pack_source(w, (const half_t*)src, row, count, words);
  else if (source == kBF16) pack_source(w, (const bfloat_t*)src, row, count, words);
  else pack_source(w, (const float*)src, row, count, false);
}

void pack_rows(const Weight& w, Stored source, const void* src, int64_t row, int64_t count) {
  switch (source.part) {
    case Stored::kElements:
      pack_elements(w, source.dtype, src, row, count);
#if defined(__wasm_simd128__)
      for (int64_t panel = row / kPanel; panel < up(row + count, kPanel); panel++) {
        if (w.dtype == kF16) note_unusual(w, (const uint16_t*)w.data + panel * w.columns * kPanel, w.columns * kPanel);
        if (quantized(w.dtype)) note_unusual(w, w.scales + panel * w.groups() * kPanel, w.groups() * kPanel);
      }
#endif
      return;
    case Stored::kScales: return pack_factors(w, source.dtype, src, row, count, w.scales);
    case Stored::kMinimums: return pack_factors(w, source.dtype, src, row, count, w.minimums);
    default: break;
  }
  const uint8_t* codes = (const uint8_t*)src;
  switch (source.bits) {
    case 2: return pack_codes<2>(w, codes, row, count);
    case 3: return pack_codes<3>(w, codes, row, count);
    case 4: return pack_codes<4>(w, codes, row, count);
    case 5: return pack_codes<5>(w, codes, row, count);
    case 6: return pack_codes<6>(w, codes, row, count);
    default: return pack_codes<8>(w, codes, row, count);
  }
}

}  // namespace openelm::OPENELM_ISA
