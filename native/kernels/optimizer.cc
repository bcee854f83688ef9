// The optimizer's ops: the norm of all gradients, and one AdamW step that reads and writes every parameter once. Chunks are
// fixed blocks of elements.
#include "internal.h"

namespace openelm::OPENELM_ISA {

namespace {

typedef float half_vf __attribute__((vector_size(W * 2), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(W * 4)));

constexpr int64_t kBlock = 1 << 16;

int block_chunks(int64_t count) { return (int)clamp(up(count, kBlock), count > 0, 128); }

// In double precision: a sum over hundreds of millions, of squares that f32 may not hold.
double sum_of_squares(const float* x, int64_t n) {
  vd s[4] = {};
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    UNROLL
    for (int j = 0; j < 4; j++) {
      vd v = __builtin_convertvector(*(const half_vf*)(x + i + j * (W / 2)), vd);
      s[j] += v * v;
    }
  }
  vd all = (s[0] + s[1]) + (s[2] + s[3]);
  double total = 0;
  for (int j = 0; j < W / 2; j++) total += all[j];
  for (; i < n; i++) total += (double)x[i] * (double)x[i];
  return total;
}

INLINE vf root(vf v) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)v);
#else
  vf out;
  for (int i = 0; i < W; i++) out[i] = sqrtf(v[i]);
  return out;
#endif
}

struct Step {
  float clip, beta1, beta2, rate, decay, inverse1, inverse2, eps;
};

INLINE void step_of(const Step& s, vf& parameter, vf grad, vf& first, vf& second) {
  const vf g = grad * s.clip;
  first = fma(first, splat(s.beta1), g * (1 - s.beta1));
  second = fma(second, splat(s.beta2), g * g * (1 - s.beta2));
  const vf by = first * s.inverse1 / (root(second * s.inverse2) + s.eps);
  parameter -= fma(parameter, splat(s.decay), by * s.rate);
}

}  // namespace

int global_norm_chunks(const Record& r, int stage) { return stage == 0 ? block_chunks(r.ints[globalNorm_op::i_count_]) : 1; }

size_t global_norm_scratch(const Record& r) { return 128 * sizeof(double); }

int global_norm_run(const Record& r, int stage, int chunk, int chunks) {
  using namespace globalNorm_op;
  double* sums = (double*)r.scratch;
  if (stage == 0) {
    const Range range = part(r.ints[i_count_], chunk, chunks);
    sums[chunk] = sum_of_squares(floats(r, x_) + range.begin, range.end - range.begin);
    return kOk;
  }
  double total = 0;
  const int blocks = block_chunks(r.ints[i_count_]);
  for (int i = 0; i < blocks; i++) total += sums[i];
  const double norm = sqrt(total), clip = (double)r.floats[f_maxNorm_] / (norm + 1e-6);
  float* norms = floats(r, norms_);
  norms[0] = (float)norm;
  norms[1] = (float)(clip > 1 ? 1 : clip);
  norms[2] = isfinite(norms[0]) ? 0 : 1;
  return kOk;
}

int adamw_chunks(const Record& r, int) { return block_chunks(r.ints[adamw_op::i_count_]); }

int adamw_run(const Record& r, int, int chunk, int chunks) {
  using namespace adamw_op;
  const Range range = part(r.ints[i_count_], chunk, chunks);
  float *parameters = floats(r, parameters_), *grad = floats(r, grad_), *first = floats(r, firstMoment_), *second = floats(r, secondMoment_);
  const float *norms = floats(r, norms_), *schedule = floats(r, schedule_);
  if (norms[2] != 0) {
    memset(grad + range.begin, 0, (size_t)(range.end - range.begin) * sizeof(float));
    return kOk;
  }
  const double rate = schedule[0];
  const Step s = {norms[1], r.floats[f_beta1_], r.floats[f_beta2_], (float)rate, (float)(rate * (double)r.floats[f_weightDecay_]),
                  (float)(1 / (double)schedule[1]), (float)(1 / (double)schedule[2]), r.floats[f_eps_]};
  int64_t i = range.begin;
  for (; i + W <= range.end; i += W) {
    vf p = load(parameters + i), m = load(first + i), v = load(second + i);
    step_of(s, p, load(grad + i), m, v);
    store(parameters + i, p);
    store(first + i, m);
    store(second + i, v);
    store(grad + i, (vf){});
  }
  if (i < range.end) {
    const int rest = (int)(range.end - i);
    vf p = load_part(parameters + i, rest), m = load_part(first + i, rest), v = load_part(second + i, rest);
    step_of(s, p, load_part(grad + i, rest), m, v);
    store_part(parameters + i, p, rest);
    store_part(first + i, m, rest);
    store_part(second + i, v, rest);
    store_part(grad + i, (vf){}, rest);
  }
  return kOk;
}

}  // namespace openelm::OPENELM_ISA
