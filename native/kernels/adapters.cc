// What adapters add to a model: dropout, factors by column, DoRA's norms, and their derivatives. Their matrix products are the
// linear op's. Sums over rows go by columns, so that no two chunks meet.
#include "internal.h"

namespace openelm::OPENELM_ISA {

namespace {

// Sixteen at once, whatever the machine's width.
typedef uint32_t word_v __attribute__((vector_size(64)));
typedef float float_v __attribute__((vector_size(64), aligned(4), may_alias));

// pcg4d (Jarzynski and Olano 2020) of sixteen counters: the words of 64 elements, lane by lane.
INLINE void random_words(uint32_t block, uint32_t op, uint32_t draw, uint32_t seed, word_v out[4]) {
  auto mixed = [](uint32_t word) { return word * 1664525u + 1013904223u; };
  word_v x, y = (word_v){} + mixed(op), z = (word_v){} + mixed(draw), w = (word_v){} + mixed(seed);
  for (uint32_t i = 0; i < 16; i++) x[i] = mixed(16 * block + i);
  auto mix = [&]() __attribute__((always_inline)) { x += y * w; y += z * x; z += x * y; w += y * z; };
  mix();
  x ^= x >> 16; y ^= y >> 16; z ^= z >> 16; w ^= w >> 16;
  mix();
  out[0] = x; out[1] = y; out[2] = z; out[3] = w;
}

}  // namespace

int dropout_chunks(const Record& r, int) {
  const int64_t count = (int64_t)r.ints[dropout_op::i_rows_] * r.ints[dropout_op::i_columns_];
  return (int)clamp(count >> 14, count > 0, 32);
}

int dropout_run(const Record& r, int, int chunk, int chunks) {
  using namespace dropout_op;
  const int64_t count = (int64_t)r.ints[i_rows_] * r.ints[i_columns_];
  const double rate = (double)r.floats[f_rate_];
  const uint32_t threshold = (uint32_t)(rate * 4294967296.0);
  const float scale = (float)(1 / (1 - rate));
  const float *x = floats(r, x_), *residual = floats(r, residual_);
  float* out = floats(r, out_);
  const Range blocks = part(up(count, 64), chunk, chunks);
  for (int64_t block = blocks.begin; block < blocks.end; block++) {
    word_v words[4];
    random_words((uint32_t)block, (uint32_t)r.ints[i_op_], (uint32_t)r.ints[i_draw_], (uint32_t)r.ints[i_seed_], words);
    for (int64_t lane = 0, at = block * 64; lane < 4 && at < count; lane++, at += 16) {
      const auto kept = words[lane] >= threshold;
      if (at + 16 <= count) {
        float_v v = (float_v)((word_v)kept & (word_v)(*(const float_v*)(x + at) * scale));
        if (residual) v += *(const float_v*)(residual + at);
        *(float_v*)(out + at) = v;
        continue;
      }
      for (int64_t i = 0; i < count - at; i++) out[at + i] = (kept[i] ? x[at + i] * scale : 0) + (residual ? residual[at + i] : 0);
    }
  }
  return kOk;
}

int scale_columns_run(const Record& r, int, int chunk, int chunks) {
  using namespace scaleColumns_op;
  const int64_t n = r.ints[i_columns_];
  const int32_t* ids = ints(r, ids_);
  const Range range = part(r.ints[i_rows_], chunk, chunks);
  for (int64_t m = range.begin; m < range.end; m++) {
    const int64_t group = ids ? ids[m] : 0;
    if (group < 0 || group >= r.ints[i_groups_]) return kIndexOutOfRange;
    const float *x = floats(r, x_) + m * n, *by = floats(r, table_) + group * n, *residual = floats(r, residual_);
    float* out = floats(r, out_) + m * n;
    if (residual) residual += m * n;
    by_vectors(n, [&](int64_t c, auto get, auto put) {
      const vf v = get(x + c) * get(by + c);
      put(out + c, residual ? v + get(residual + c) : v);
    });
  }
  return kOk;
}

int scale_columns_grad_chunks(const Record& r, int) {
  using namespace scaleColumnsGrad_op;
  const int64_t work = (int64_t)r.ints[i_rows_] * r.ints[i_columns_];
  return work <= 0 ? 0 : (int)clamp(work >> 14, 1, clamp(r.ints[i_columns_] / 64, 1, 32));
}

int scale_columns_grad_run(const Record& r, int, int chunk, int chunks) {
  using namespace scaleColumnsGrad_op;
  const int64_t n = r.ints[i_columns_];
  const int32_t* ids = ints(r, ids_);
  const Range range = part(n, chunk, chunks);
  const float *x = floats(r, x_), *residual = floats(r, residual_);
  float* sums = floats(r, tableGrad_);
  if (sums) memset(sums + range.begin, 0, (size_t)(range.end - range.begin) * sizeof(float));
  for (int64_t m = 0; m < r.ints[i_rows_]; m++) {
    const int64_t group = ids ? ids[m] : 0, at = m * n;
    if (group < 0 || group >= r.ints[i_groups_]) return kIndexOutOfRange;
    const float *dout = floats(r, dout_) + at, *by = floats(r, table_) + group * n;
    float* dx = floats(r, dx_) + at;
    by_vectors(range.end - range.begin, [&](int64_t i, auto get, auto put) {
      const int64_t c = range.begin + i;
      const vf d = get(dout + c), v = d * get(by + c);
      put(dx + c, residual ? v + get(residual + at + c) : v);
      if (sums) put(sums + c, fma(d, get(x + at + c), get(sums + c)));
    });
  }
  return kOk;
}

int dora_factors_chunks(const Record& r, int) { return (int)smaller(up(r.ints[doraFactors_op::i_outputs_], kPanel), 64); }

// Sixteen outputs at a time: |weight + scaling b a|, a block of inputs after another.
int dora_factors_run(const Record& r, int, int chunk, int chunks) {
  using namespace doraFactors_op;
  constexpr int64_t kBlock = 128;
  alignas(64) float base[kPanel * kBlock];
  const int64_t inputs = r.ints[i_inputs_], outputs = r.ints[i_outputs_], rank = r.ints[i_rank_];
  const float *a = floats(r, a_), *b = floats(r, b_), scaling = r.floats[f_scaling_];
  const Weight* weight = r.operands[weight_].weight;
  const Range panels = part(up(outputs, kPanel), chunk, chunks);
  for (int64_t panel = panels.begin; panel < panels.end; panel++) {
    const Range rows = {panel * kPanel, smaller((panel + 1) * kPanel, outputs)};
    double squares[kPanel] = {};
    for (int64_t k0 = 0; k0 < inputs; k0 += kBlock) {
      const int64_t count = smaller(kBlock, inputs - k0);
      if (weight) weight_rows(*weight, rows, {k0, k0 + count}, base, kBlock);
      for (int64_t n = rows.begin; n < rows.end; n++) {
        alignas(64) float sums[kBlock] = {};
        for (int64_t i = 0; i < rank; i++) {
          const vf by = splat(b[n * rank + i]);
          const float* from = a + i * inputs + k0;
          by_vectors(count, [&](int64_t k, auto get, auto put) { put(sums + k, fma(by, get(from + k), get(sums + k))); });
        }
        const float* w = weight ? base + (n - rows.begin) * kBlock : floats(r, weight_) + n * inputs + k0;
        by_vectors(count, [&](int64_t k, auto get, auto put) { put(sums + k, fma(splat(scaling), get(sums + k), get(w + k))); });
        vf total = {};
        for (int64_t k = 0; k < kBlock; k += W) total = fma(load(sums + k), load(sums + k), total);
        squares[n - rows.begin] += (double)sum(total);
      }
    }
    for (int64_t n = rows.begin; n < rows.end; n++) {
      const double norm = sqrt(squares[n - rows.begin]);
      floats(r, norms_)[n] = (float)norm;
      floats(r, out_)[n] = (float)((double)floats(r, magnitude_)[n] / norm);
    }
  }
  return kOk;
}

int dora_factors_grad_chunks(const Record& r, int) { return r.ints[doraFactorsGrad_op::i_outputs_] > 0; }

int dora_factors_grad_run(const Record& r, int, int, int) {
  using namespace doraFactorsGrad_op;
  for (int64_t n = 0; n < r.ints[i_outputs_]; n++) floats(r, magnitudeGrad_)[n] += floats(r, dout_)[n] / floats(r, norms_)[n];
  return kOk;
}

}  // namespace openelm::OPENELM_ISA
