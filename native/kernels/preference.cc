// Losses of preference pairs from their tokens' cross-entropies, and what each row's gradient is multiplied by: a few sums in double
// precision, one chunk. What the losses are is in the op table.
#include "internal.h"

namespace openelm::OPENELM_ISA {

using namespace preferenceLoss_op;

namespace {

// ln(1 + exp(-x)), whatever x.
double softplus(double x) { return (x < 0 ? -x : 0) + log1p(exp(-fabs(x))); }
double logistic(double x) { return 1 / (1 + exp(-x)); }

struct Answer {
  int64_t first, count;
  double logp, ratio;
};

// A pair's loss, and its derivative by the difference of log-ratios (IPO: of their means).
double loss_of(int kind, double beta, double e, const Answer& chosen, const Answer& rejected, double* slope) {
  const double m = beta * (chosen.ratio - rejected.ratio), right = softplus(m), wrong = softplus(-m);
  switch (kind) {
    case 0:
      *slope = beta * (e * logistic(m) - (1 - e) * logistic(-m));
      return (1 - e) * right + e * wrong;
    case 1:
      *slope = -beta * ((1 - e) * logistic(-m) + e * logistic(m)) / (1 - 2 * e);
      return ((1 - e) * right - e * wrong) / (1 - 2 * e);
    case 2:
      *slope = m < 1 ? -beta : 0;
      return m < 1 ? 1 - m : 0;
    default: {
      const double off = chosen.ratio / (double)chosen.count - rejected.ratio / (double)rejected.count - 1 / (2 * beta);
      *slope = 2 * off;
      return off * off;
    }
  }
}

}  // namespace

int preference_loss_chunks(const Record& r, int stage) { return 1; }

int preference_loss_run(const Record& r, int stage, int chunk, int chunks) {
  const int64_t rows = r.ints[i_rows_];
  const int kind = r.ints[i_kind_];
  const float *losses = floats(r, losses_), *reference = floats(r, reference_);
  float *results = floats(r, results_), *scales = floats(r, rowWeights_);
  for (int64_t i = 0; i < rows; i++) scales[i] = 0;
  for (int64_t p = 0; p < r.ints[i_pairCount_]; p++) {
    Answer answers[2];
    for (int which = 0; which < 2; which++) {
      const int32_t* place = ints(r, pairs_) + p * 4 + which * 2;
      Answer& a = answers[which];
      a = {place[0], place[1], 0, 0};
      if (a.first < 0 || a.count < 1 || a.first + a.count > rows) return kIndexOutOfRange;
      for (int64_t i = a.first; i < a.first + a.count; i++) a.logp -= (double)losses[2 * i];
      a.ratio = a.logp - (double)reference[p * 2 + which];
    }
    double slope;
    const double loss = loss_of(kind, (double)r.floats[f_beta_], (double)r.floats[f_labelSmoothing_], answers[0], answers[1], &slope);
    results[p * 3] = (float)loss;
    for (int which = 0; which < 2; which++) {
      const Answer& a = answers[which];
      results[p * 3 + 1 + which] = (float)a.logp;
      const double scale = (which ? slope : -slope) / (kind == 3 ? (double)a.count : 1);
      for (int64_t i = a.first; i < a.first + a.count; i++) scales[i] = (float)scale;
    }
  }
  return kOk;
}

}  // namespace openelm::OPENELM_ISA
