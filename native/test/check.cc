// Compares the kernels of every instruction set that this machine has with plain double-precision loops, over many shapes.
//   check [--quick] [isa]
// prints one line an instruction set and op with the largest error, and fails when one is too large. Not part of the addon: it is
// linked with the kernel libraries and cpu.cc. `npm test` runs the quick part, sanitize.sh and arm64.sh run all of it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>

#include "cpu.h"
#include "weights.h"

static bool failed = false, quick = false;
static int rounds(int all) { return quick ? all / 4 : all; }
static double worst = 0;
// Errors are measured against the size of the terms that were added up.
static void expect(const char* what, double got, double want, double size, double tolerance) {
  double error = std::fabs(got - want) / std::max(size, 1e-30);
  if (std::isnan(got) && std::isnan(want)) error = 0;
  if (!(error <= tolerance)) {
    if (!failed) printf("  WRONG %s: %.9g, expected %.9g (size %.3g)\n", what, got, want, size);
    failed = true;
  }
  if (error > worst) worst = error;
}

// Runs a record, chunks backwards, and checks that nothing is written beyond its operands.
struct Call {
  Record r{};
  const KernelTable& t;
  int op;
  Call(const KernelTable& table, int id) : t(table), op(id) {}
  Call& rows(int operand, void* data, DType dtype = kF32) { r.operands[operand] = {data, nullptr, dtype, 0}; return *this; }
  Call& weight(int operand, const Weight* w) { r.operands[operand] = {nullptr, w, w->dtype, 0}; return *this; }
  Call& ints(std::initializer_list<int> v) { std::copy(v.begin(), v.end(), r.ints); return *this; }
  // Made ready for `most` rows, if more may come than there are now.
  int run(int most = 0) {
    const OpKernel& k = t.ops[op];
    const int now = r.ints[0];
    if (most) r.ints[0] = most;
    size_t bytes = k.scratch ? k.scratch(r) : 0;
    const int stages = k.stages * (k.repeats ? k.repeats(r) : 1);
    r.ints[0] = now;
    vector<uint8_t> scratch(bytes + 128, 0x5a);
    uint8_t* base = (uint8_t*)(((uintptr_t)scratch.data() + 63) & ~(uintptr_t)63);
    r.scratch = base;
    int code = kOk;
    for (int s = 0; s < stages; s++) {
      int n = k.chunks(r, s);
      for (int c = n - 1; c >= 0; c--) code = std::max(code, k.run(r, s, c, n));
    }
    for (uint8_t* p = base + bytes; p < scratch.data() + scratch.size(); p++)
      if (*p != 0x5a) failed = true, printf("  WRONG: scratch overrun in %s\n", kOpSizes[op].name);
    return code;
  }
};
static vector<float> guarded(size_t n) { return vector<float>(n + 64, 12345.0f); }
static void check_guard(const vector<float>& v, size_t n) {
  for (size_t i = n; i < v.size(); i++) expect("guard", v[i], 12345.0f, 1, 0);
}

static vector<float> awkward(size_t n) {   // zeros, ties, tiny and large groups among normal ones
  vector<float> v = random_floats(n, 0.05);
  for (size_t g = 0; g + 32 <= n; g += 32) {
    int kind = pick(0, 9);
    for (size_t i = g; i < g + 32; i++) {
      if (kind == 0) v[i] = 0;
      if (kind == 1) v[i] = (float)pick(-254, 254) / 2;
      if (kind == 2) v[i] *= 1e-6f;
      if (kind == 3) v[i] = (float)pick(-16, 16) / 2;
    }
  }
  return v;
}

static const DType kWeights[] = {kF32, kF16, kBF16, kQ8, kQ4};

static void check_pack(const KernelTable& t) {
  const int shapes[][2] = {{1, 1}, {16, 32}, {17, 33}, {33, 31}, {48, 300}, {50, 129}, {5, 640}, {100, 64}, {64, 520}};
  for (auto& shape : shapes)
    for (DType from : {kF32, kF16, kBF16})
      for (DType to : kWeights) {
        const int rows = shape[0], columns = shape[1];
        Source s = source_of(from, awkward((size_t)rows * columns));
        Expected e = expected_of(to, s.values, rows, columns);
        Packed w(t, to, s, rows, columns);
        vector<int> ids(rows);
        for (int i = 0; i < rows; i++) ids[i] = rows - 1 - i;
        auto out = guarded((size_t)rows * columns);
        int code = Call(t, op_embedding).weight(0, &w).rows(1, ids.data(), kI32).rows(2, out.data()).ints({rows, columns, rows}).run();
        expect("code", code, kOk, 1, 0);
        for (int r = 0; r < rows; r++)
          for (int k = 0; k < columns; k++)
            expect("packed value", out[(size_t)r * columns + k], e.values[(size_t)(rows - 1 - r) * columns + k], 1, 0);
        check_guard(out, (size_t)rows * columns);
        vector<float> wide((size_t)rows * columns);
        t.to_f32(from, s.bytes.data(), wide.data(), (int64_t)rows * columns);
        for (size_t i = 0; i < wide.size(); i++) expect("to_f32", wide[i], s.values[i], 1, 0);
        ids[rows / 2] = rows;
        expect("range", Call(t, op_embedding).weight(0, &w).rows(1, ids.data(), kI32).rows(2, out.data()).ints({rows, columns, rows}).run(), kIndexOutOfRange, 1, 0);
      }
  for (int h = 0; h < 0x7c00; h++) {   // every f16 through f32 and back, and the ties between neighbours
    float v = (float)half_value((uint16_t)h), tie = (float)((half_value((uint16_t)h) + half_value((uint16_t)(h + 1))) / 2);
    if (h == 0x7bff) tie = 65520;
    Source s = source_of(kF32, {v, tie, -tie, std::nextafter(tie, 0.0f), std::nextafter(tie, 1e6f)});
    Packed w(t, kF16, s, 1, 5);
    for (int k = 0; k < 5; k++) expect("f16 rounding", ((uint16_t*)w.data)[k * 16], to_half(s.values[k]), 1, 0);
  }
}

static void linear_case(const KernelTable& t, const Weight& w, const Expected& e, int m, int int8) {
  const int n = w.rows, k = w.columns;
  vector<float> x = random_floats((size_t)m * k), residual = random_floats((size_t)m * n);
  const bool has = pick(0, 1), codes = int8 && !e.codes.empty();
  auto out = guarded((size_t)m * n);
  Call c(t, op_linear);
  c.rows(0, x.data()).weight(1, &w).rows(2, has ? residual.data() : nullptr).rows(3, out.data()).ints({m, k, n, int8});
  expect("code", c.run(), kOk, 1, 0);
  const int groups = (k + 31) / 32;
  for (int r = 0; r < m; r++) {
    vector<int> q(groups * 32);
    vector<float> scales(groups);
    for (int g = 0; g < groups; g++) {
      float top = 0;
      for (int i = g * 32; i < std::min(k, g * 32 + 32); i++) top = std::max(top, std::fabs(x[(size_t)r * k + i]));
      volatile float inverse = top > 0 ? 127.0f / top : 0;
      scales[g] = top / 127.0f;
      for (int i = g * 32; i < std::min(k, g * 32 + 32); i++) {
        volatile float product = x[(size_t)r * k + i] * inverse;
        q[i] = (int)std::nearbyint(product);
      }
    }
    for (int c2 = 0; c2 < n; c2++) {
      double sum = 0, size = 0;
      if (codes) {
        for (int g = 0; g < groups; g++) {
          int products = 0;
          for (int i = g * 32; i < g * 32 + 32; i++) products += q[i] * e.codes[(size_t)c2 * groups * 32 + i];
          double part = products * (double)(float)(scales[g] * e.scales[(size_t)c2 * groups + g]);
          part += (double)e.minimums[(size_t)c2 * groups + g] * scales[g] * std::accumulate(&q[g * 32], &q[g * 32] + 32, 0);
          sum += part;
          size += part * part;
        }
      } else {
        for (int i = 0; i < k; i++) {
          double part = (double)x[(size_t)r * k + i] * e.values[(size_t)c2 * k + i];
          sum += part;
          size += part * part;
        }
      }
      if (has) sum += residual[(size_t)r * n + c2];
      expect("linear", out[(size_t)r * n + c2], sum, std::sqrt(size) + std::fabs(sum), 3e-6);
    }
  }
  check_guard(out, (size_t)m * n);
}

static void check_linear(const KernelTable& t) {
  const int shapes[][3] = {{0, 32, 16}, {1, 1, 1}, {1, 64, 64}, {1, 100, 50}, {1, 1280, 200}, {1, 33, 1000}, {2, 96, 40}, {3, 70, 17}, {5, 256, 100},
                           {6, 260, 32}, {7, 31, 33}, {11, 300, 48}, {12, 64, 96}, {13, 520, 80}, {24, 128, 31}, {47, 96, 130}, {271, 330, 40}, {100, 640, 36}, {256, 72, 20}, {200, 3000, 50}};
  for (auto& s : shapes)
    for (DType d : kWeights)
      for (int int8 = 0; !(quick && s[0] * s[1] * s[2] > 1000000) && int8 < (quantized(d) ? 2 : 1); int8++) {
        Source from = source_of(kF32, random_floats((size_t)s[2] * s[1], 0.05));
        linear_case(t, Packed(t, d, from, s[2], s[1]), expected_of(d, from.values, s[2], s[1]), s[0], int8);
      }
  const struct { DType dtype; int bits; } kinds[] = {{kAffine8, 8}, {kAffine8, 6}, {kAffine4, 4}, {kAffine4, 2}, {kAffine3, 3}, {kAffine3, 2}};
  for (auto& s : shapes)
    for (auto kind : kinds)
      for (int group = 32; group <= 128 && s[1] % group == 0 && s[0] <= 24; group *= 2) {
        Packed w(kind.dtype, s[2], s[1], group);
        const Expected e = affine_of(t, w, kind.bits);
        for (int int8 = 0; int8 < 2; int8++) linear_case(t, w, e, s[0], int8);
      }
}

static void check_attention(const KernelTable& t) {
  for (int round = 0; round < rounds(60); round++) {
    const int dims[] = {12, 16, 32, 64, 128, 2}, groups[] = {1, 2, 4, 8, 3, 100};
    const int dim = dims[round % 6], group = groups[pick(0, round % 20 ? 4 : 5)], kv = pick(1, 3), heads = kv * group;
    const int count = pick(1, 4), cache_rows = 700;
    const bool half = round % 2;
    vector<int> sequences, segments;
    int rows = pick(0, 2);
    for (int s = 0; s < count; s++) {
      const int n = round % 3 == 0 ? 1 : pick(0, 60), parts = pick(1, 3), first = (int)segments.size() / 2;
      int total = 0;
      for (int p = 0; p < parts; p++) {
        int length = pick(0, round % 5 == 0 ? 230 : 50);
        if (p == parts - 1) length = std::max(length, n - total);
        segments.push_back(pick(0, cache_rows - length));
        segments.push_back(length);
        total += length;
      }
      sequences.insert(sequences.end(), {rows, n, first, parts});
      rows += n;
    }
    auto query = random_floats((size_t)rows * heads * dim), keys = random_floats((size_t)cache_rows * kv * dim, 2), values = random_floats(keys.size());
    Source k = source_of(half ? kF16 : kF32, keys), v = source_of(k.dtype, values);
    auto out = guarded((size_t)rows * heads * dim);
    Call c(t, op_attention);
    c.rows(0, query.data()).rows(1, k.bytes.data(), k.dtype).rows(2, v.bytes.data(), k.dtype).rows(3, sequences.data(), kI32).rows(4, segments.data(), kI32);
    c.rows(5, out.data()).ints({rows, count, (int)segments.size() / 2, heads, kv, dim, cache_rows});
    c.r.floats[0] = (float)(1 / std::sqrt(dim));
    expect("code", c.run(), kOk, 1, 0);
    for (int s = 0; s < count; s++) {
      const int* q = &sequences[s * 4];
      vector<int> cached;
      for (int g = q[2]; g < q[2] + q[3]; g++) for (int i = 0; i < segments[g * 2 + 1]; i++) cached.push_back(segments[g * 2] + i);
      for (int i = 0; i < q[1]; i++)
        for (int h = 0; h < heads; h++) {
          const size_t at = ((size_t)(q[0] + i) * heads + h) * dim, visible = cached.size() - q[1] + i + 1;
          vector<double> p(visible), sums(dim);
          double top = -1e300, total = 0;
          for (size_t j = 0; j < visible; j++) {
            for (int d = 0; d < dim; d++) p[j] += (double)query[at + d] * k.values[((size_t)cached[j] * kv + h / group) * dim + d] * c.r.floats[0];
            top = std::max(top, p[j]);
          }
          for (auto& x : p) total += x = std::exp(x - top);
          for (int d = 0; d < dim; d++) {
            for (size_t j = 0; j < visible; j++) sums[d] += p[j] / total * v.values[((size_t)cached[j] * kv + h / group) * dim + d];
            expect("attention", out[at + d], sums[d], 1, 1e-5);
          }
        }
    }
    check_guard(out, (size_t)rows * heads * dim);
    for (int i = 0; i < (rows ? sequences[0] * heads * dim : 0); i++) expect("untouched", out[i], 12345.0f, 1, 0);
    const int wrong[][2] = {{0, -1}, {1, rows + 1}, {2, -3}, {3, 1 << 30}, {1, INT32_MAX}, {0, INT32_MAX}};
    auto saved = sequences;
    for (auto& w : wrong) {
      sequences[w[0]] = w[1];
      expect("bad sequence", c.run(), kIndexOutOfRange, 1, 0);
      sequences = saved;
    }
    if (sequences[1] == 0) continue;
    segments[0] = cache_rows + 1;
    expect("bad segment", c.run(), kIndexOutOfRange, 1, 0);
  }
}

static void normalize(const vector<double>& x, const float* w, double eps, vector<double>& out) {
  double sum = 0;
  for (double v : x) sum += v * v;
  out.resize(x.size());
  for (size_t i = 0; i < x.size(); i++) out[i] = x[i] / std::sqrt(sum / (double)x.size() + eps) * w[i];
}

static void check_rope(const KernelTable& t) {
  for (int round = 0; round < rounds(40); round++) {
    const int dims[] = {2, 12, 16, 32, 64, 128, 6}, dim = dims[round % 7], kv = pick(1, 3), heads = kv * pick(1, 4), rows = pick(0, 40), cache_rows = 64, rope_rows = 50;
    const int width = (heads + 2 * kv) * dim;
    const bool half = round % 2, norms = round % 3;
    auto qkv = random_floats((size_t)rows * width), norm = random_floats(dim * 2), rope = random_floats((size_t)rope_rows * dim);
    vector<int> positions(rows + 1), kv_rows(rows + 1);
    for (int r = 0; r < rows; r++) positions[r] = pick(0, rope_rows - 1), kv_rows[r] = (r * 7 + round) % cache_rows;
    auto query = guarded((size_t)rows * heads * dim);
    vector<uint8_t> keys((size_t)cache_rows * kv * dim * 4), values = keys;
    Call c(t, op_qkNormRope);
    c.rows(0, qkv.data()).rows(1, norms ? norm.data() : nullptr).rows(2, norms ? &norm[dim] : nullptr).rows(3, rope.data()).rows(4, positions.data(), kI32);
    c.rows(5, kv_rows.data(), kI32).rows(6, query.data()).rows(7, keys.data(), half ? kF16 : kF32).rows(8, values.data(), half ? kF16 : kF32);
    c.ints({rows, heads, kv, dim, cache_rows, rope_rows});
    c.r.floats[0] = 1e-6f;
    expect("code", c.run(), kOk, 1, 0);
    auto cached = [&](const vector<uint8_t>& v, size_t i) { return half ? half_value(((uint16_t*)v.data())[i]) : ((float*)v.data())[i]; };
    for (int r = 0; r < rows; r++)
      for (int h = 0; h < heads + 2 * kv; h++) {
        vector<double> x(&qkv[(size_t)r * width + h * dim], &qkv[(size_t)r * width + h * dim] + dim);
        if (h < heads + kv) {
          if (norms) normalize(vector<double>(x), &norm[h < heads ? 0 : dim], 1e-6, x);
          for (int i = 0; i < dim / 2; i++) {
            double a = x[i], b = x[i + dim / 2], cosine = rope[positions[r] * dim + i], sine = rope[positions[r] * dim + dim / 2 + i];
            x[i] = a * cosine - b * sine;
            x[i + dim / 2] = b * cosine + a * sine;
          }
        }
        for (int d = 0; d < dim; d++) {
          const size_t at = ((size_t)kv_rows[r] * kv + (h - heads) % kv) * dim + d;
          if (h < heads) expect("query", query[((size_t)r * heads + h) * dim + d], x[d], 1 + std::fabs(x[d]), 3e-6);
          else expect("cache", cached(h < heads + kv ? keys : values, at), x[d], 1 + std::fabs(x[d]), half ? 6e-4 : 3e-6);
        }
      }
    check_guard(query, (size_t)rows * heads * dim);
    if (!rows) continue;
    positions[rows - 1] = rope_rows;
    expect("bad position", c.run(), kIndexOutOfRange, 1, 0);
    positions[rows - 1] = 0;
    kv_rows[0] = -1;
    expect("bad cache row", c.run(), kIndexOutOfRange, 1, 0);
  }
}

static void check_rows(const KernelTable& t) {
  for (int n : {1, 3, 15, 16, 17, 100, 1280, 5000})
    for (int m : {0, 1, 2, 37}) {
      if (quick && m * n > 50000) continue;
      auto x = random_floats((size_t)m * n * 2 + 1, n == 17 ? 40 : 2), w = random_floats(n);
      const size_t size = (size_t)m * n;
      auto out = guarded(size);
      Call norm(t, op_rmsNorm);
      norm.rows(0, x.data()).rows(1, w.data()).rows(2, out.data()).ints({m, n}).r.floats[0] = 1e-5f;
      norm.run();
      for (int r = 0; r < m; r++) {
        vector<double> y;
        normalize(vector<double>(&x[(size_t)r * n], &x[(size_t)r * n] + n), w.data(), 1e-5f, y);
        for (int i = 0; i < n; i++) expect("rmsNorm", out[(size_t)r * n + i], y[i], std::fabs(y[i]), 1e-6);
      }
      check_guard(out, size);
      auto silu = [](double v) { return v / (1 + std::exp(-v)); };
      Call(t, op_swiglu).rows(0, x.data()).rows(1, out.data()).ints({m, n}).run();
      for (size_t i = 0; i < size; i++) {
        double want = silu(x[i / n * 2 * n + i % n]) * x[i / n * 2 * n + n + i % n];
        expect("swiglu", out[i], want, std::fabs(want) + 1e-28, 1e-6);
      }
      Call(t, op_silu).rows(0, x.data()).rows(1, out.data()).ints({m, n}).run();
      for (size_t i = 0; i < size; i++) expect("silu", out[i], silu(x[i]), std::fabs(silu(x[i])) + 1e-28, 1e-6);
      Call(t, op_copy).rows(0, x.data()).rows(1, out.data()).ints({m, n}).run();
      for (size_t i = 0; i < size; i++) expect("copy", out[i], x[i], 1, 0);
      const size_t words = (size_t)m * ((n + 63) / 64 + (n + 1) / 2);
      auto packed = guarded(words);
      Call(t, op_packInt16).rows(0, x.data()).rows(1, packed.data()).ints({m, n}).run();
      check_guard(packed, words);
      Call(t, op_unpackInt16).rows(0, packed.data()).rows(1, out.data()).ints({m, n}).run();
      for (size_t i = 0; i < size; i++) {
        const size_t row = i / n * n, from = row + (i - row) / 64 * 64, end = std::min(from + 64, row + n);
        float most = 0;
        for (size_t at = from; at < end; at++) most = std::max(most, std::fabs(x[at]));
        expect("int16", out[i], x[i], most, 0.51 / 32767);
      }
      vector<int> index(m + 1);
      for (auto& i : index) i = pick(0, 2 * m);
      index[0] = 0;
      if (m) {
        Call gather(t, op_gatherRows);
        gather.rows(0, x.data()).rows(1, index.data(), kI32).rows(2, out.data()).ints({m, n, 2 * m});
        for (auto& i : index) i = std::min(i, 2 * m - 1);
        expect("code", gather.run(), kOk, 1, 0);
        for (size_t i = 0; i < size; i++) expect("gather", out[i], x[(size_t)index[i / n] * n + i % n], 1, 0);
        index[m - 1] = 2 * m;
        expect("bad row", gather.run(), kIndexOutOfRange, 1, 0);
      }
      check_guard(out, size);
      if (size) {
        x[pick(0, (int)size - 1)] = NAN;
        x[pick(0, (int)size - 1)] = x[pick(0, (int)size - 1)] = 1e9f;
      }
      vector<int> best(m + 1), targets(m + 1);
      Call(t, op_argmax).rows(0, x.data()).rows(1, best.data(), kI32).ints({m, n}).run();
      for (int r = 0; r < m; r++) {
        int want = 0;
        float top = -INFINITY;
        for (int i = 0; i < n; i++) if (x[(size_t)r * n + i] > top) top = x[(size_t)r * n + (want = i)];
        for (int i = 0; i < n; i++) if (!std::isfinite(x[(size_t)r * n + i])) want = -1;
        expect("argmax", best[r], want, 1, 0);
      }
      x = random_floats(size, 5);
      for (auto& i : targets) i = pick(0, n - 1);
      Call logprob(t, op_tokenLogprob);
      logprob.rows(0, x.data()).rows(1, targets.data(), kI32).rows(2, out.data()).ints({m, n});
      expect("code", logprob.run(), kOk, 1, 0);
      for (int r = 0; r < m; r++) {
        double total = 0;
        for (int i = 0; i < n; i++) total += std::exp((double)x[(size_t)r * n + i]);
        double want = x[(size_t)r * n + targets[r]] - std::log(total);
        expect("tokenLogprob", out[r], want, std::fabs(want) + 1, 5e-7);
      }
      if (!m) continue;
      targets[0] = n;
      expect("bad target", logprob.run(), kIndexOutOfRange, 1, 0);
    }
}

// Products with frozen weights as floats: with few rows and many, in one group of rows and in several, whole ones and in rounds.
static void check_frozen(const KernelTable& t) {
  const int shapes[][3] = {{385, 576, 128}, {384, 2112, 64}, {449, 768, 768}, {528, 2176, 768}, {530, 576, 192}, {1060, 768, 896}, {1585, 768, 768}, {40, 576, 64}};
  int number = 0;
  for (auto& s : shapes) {
    if (quick && s[0] > 460) continue;
    for (const int op : {op_linear, op_linearInputGrad}) {
      const DType dtype = number % 3 ? kF32 : kWeights[1 + number / 3 % 4];
      number++;
      const int m = s[0], k = s[1], n = s[2], inputs = op == op_linear ? k : n, outputs = op == op_linear ? n : k;
      const size_t K = (size_t)k, N = (size_t)n;
      Source from = source_of(kF32, random_floats(K * N, 0.05));
      Packed w(t, dtype, from, outputs, inputs);
      const Expected e = expected_of(dtype, from.values, outputs, inputs);
      auto value = [&](size_t row, size_t column) { return (double)e.values[row * (size_t)inputs + column]; };
      auto x = random_floats((size_t)m * K), add = random_floats((size_t)m * N), out = guarded((size_t)m * N);
      for (size_t j = 0; j < K; j++) x[7 * K + j] *= 1e6f;
      const bool in_place = op == op_linearInputGrad && pick(0, 1), has = in_place || pick(0, 1);
      if (in_place) std::copy(add.begin(), add.end(), out.begin());
      Call c(t, op);
      c.rows(0, x.data()).weight(1, &w).rows(2, in_place ? out.data() : has ? add.data() : nullptr).rows(3, out.data()).ints({m, inputs, outputs, 0});
      expect("code", c.run(pick(0, 1) ? m + pick(0, 1200) : 0), kOk, 1, 0);
      for (int sample = 0; sample < 400; sample++) {
        const size_t r = sample % 10 ? (size_t)pick(0, m - 1) : 7, i = (size_t)pick(0, n - 1);
        double want = 0, size = 0;
        for (size_t j = 0; j < K; j++) {
          const double part = (double)x[r * K + j] * (op == op_linear ? value(i, j) : value(j, i));
          want += part, size += part * part;
        }
        if (has) want += add[r * N + i];
        expect("frozen", out[r * N + i], want, std::sqrt(size) + std::fabs(want), 2e-5);
      }
      check_guard(out, (size_t)m * N);
    }
  }
}

// The loss over frozen weights: rows in one group and in several, of which some have no target; pieces of the vocabulary; columns in rounds.
static void check_frozen_loss(const KernelTable& t) {
  using namespace crossEntropy_op;
  const int shapes[][3] = {{450, 768, 1024}, {384, 512, 2112}, {1100, 576, 2624}, {500, 2304, 2176}, {400, 640, 576}};
  int number = 0;
  for (auto& s : shapes) {
    const DType dtype = number % 2 ? kWeights[1 + number / 2 % 4] : kF32;
    const int rows = s[0], columns = s[1], vocabulary = s[2], none = number++ % 3;   // every so many rows have no target
    if (quick && number > 2) continue;
    const size_t M = (size_t)rows, K = (size_t)columns, V = (size_t)vocabulary;
    Source from = source_of(kF32, random_floats(V * K, 1.5 / std::sqrt(columns)));
    Packed w(t, dtype, from, vocabulary, columns);
    const Expected e = expected_of(dtype, from.values, vocabulary, columns);
    auto x = random_floats(M * K), scale = vector<float>{0.01f}, weights = random_floats(M), losses = guarded(2 * M), dx = guarded(M * K);
    for (size_t j = 0; j < K; j++) x[5 * K + j] *= 30;   // the largest logit weighs all
    vector<int> targets(M);
    for (size_t r = 0; r < M; r++) targets[r] = none && r % (size_t)(none + 1) == 1 ? -1 : pick(0, vocabulary - 1);
    targets[9] = targets[11] = vocabulary - 1;
    for (size_t j = 0; j < K; j++) x[9 * K + j] = 8 * e.values[(V - 1) * K + j];   // the target does
    const bool weighted = pick(0, 1), gradient = number != 5;
    Call c(t, op_crossEntropy);
    c.rows(x_, x.data()).weight(weight_, &w).rows(targets_, targets.data(), kI32).rows(scale_, scale.data()).rows(losses_, losses.data());
    if (weighted) c.rows(rowWeights_, weights.data());
    if (gradient) c.rows(dx_, dx.data());
    c.r.floats[f_zLoss_] = 1e-4f;
    expect("code", c.ints({rows, columns, vocabulary}).run(pick(0, 1) ? rows + pick(0, 1200) : 0), kOk, 1, 0);
    vector<double> logits(V);
    for (size_t r = 0; r < M; r += r < 12 ? 1 : 37) {
      if (targets[r] < 0) {
        expect("no loss", losses[2 * r], 0, 1, 0);
        for (size_t k = 0; k < K && gradient; k++) expect("no gradient", dx[r * K + k], 0, 1, 0);
        continue;
      }
      double top = -INFINITY, total = 0, spread = 0;
      for (size_t v = 0; v < V; v++) {
        double sum = 0, size = 0;
        for (size_t k = 0; k < K; k++) sum += (double)x[r * K + k] * e.values[v * K + k], size += std::pow((double)x[r * K + k] * e.values[v * K + k], 2);
        logits[v] = sum;
        spread = std::max(spread, std::sqrt(size));
        top = std::max(top, sum);
      }
      for (double logit : logits) total += std::exp(logit - top);
      const double lse = top + std::log(total), factor = (double)scale[0] * (weighted ? (double)weights[r] : 1), slack = 2e-5 * (spread + 1);
      expect("frozen loss", losses[2 * r], lse - logits[(size_t)targets[r]], 1, slack);
      expect("square", losses[2 * r + 1], lse * lse, 1, slack * 2 * (std::fabs(lse) + 1));
      for (size_t k = 0; k < K && gradient; k += 13) {
        double want = 0, size = 0;
        for (size_t v = 0; v < V; v++) {
          const double d = factor * ((1 + 2e-4 * lse) * std::exp(logits[v] - lse) - ((int)v == targets[r]));
          want += d * e.values[v * K + k], size += std::pow(d * e.values[v * K + k], 2);
        }
        expect("frozen dx", dx[r * K + k], want, std::sqrt(size), slack * 2);
      }
    }
    check_guard(losses, 2 * M);
    check_guard(dx, M * K);
    targets[3] = vocabulary;
    expect("bad target", c.run(), kIndexOutOfRange, 1, 0);
  }
}

// Products of random sizes, of which some are cut into several blocks; the other ops of training, whose results the conformance
// suite judges, are run for what they write beyond their operands and their scratch.
static void check_training(const KernelTable& t) {
  for (int i = 0; i < rounds(40); i++) {
    const int big = i % 8 == 0 ? 2500 : 150, m = pick(1, i % 3 ? 150 : big), n = pick(1, 300), k = pick(1, big);
    auto x = random_floats((size_t)m * k), w = random_floats((size_t)n * k), d = random_floats((size_t)m * n);
    auto out = guarded((size_t)m * n), dx = guarded((size_t)m * k), dw = guarded((size_t)n * k);
    Call(t, op_linear).rows(0, x.data()).rows(1, w.data()).rows(2, d.data()).rows(3, out.data()).ints({m, k, n, 0}).run();
    Call(t, op_linearInputGrad).rows(0, d.data()).rows(1, w.data()).rows(2, x.data()).rows(3, dx.data()).ints({m, k, n}).run();
    for (size_t j = 0; j < w.size(); j++) dw[j] = w[j];
    Call(t, op_linearWeightGrad).rows(0, d.data()).rows(1, x.data()).rows(2, dw.data()).ints({m, k, n}).run();
    auto judge = [&](const char* what, int count, auto a, auto b, double add, double got) {
      double want = add, size = std::fabs(add);
      for (int j = 0; j < count; j++) want += a(j) * b(j), size += std::fabs(a(j) * b(j));
      expect(what, got, want, size, 1e-6);
    };
    for (int sample = 0; sample < 200; sample++) {
      const size_t r = (size_t)pick(0, m - 1), c = (size_t)pick(0, n - 1), q = (size_t)pick(0, k - 1), N = (size_t)n, K = (size_t)k;
      judge("product", k, [&](int j) { return (double)x[r * K + (size_t)j]; }, [&](int j) { return (double)w[c * K + (size_t)j]; }, d[r * N + c], out[r * N + c]);
      judge("input gradient", n, [&](int j) { return (double)d[r * N + (size_t)j]; }, [&](int j) { return (double)w[(size_t)j * K + q]; }, x[r * K + q], dx[r * K + q]);
      judge("weight gradient", m, [&](int j) { return (double)d[(size_t)j * N + c]; }, [&](int j) { return (double)x[(size_t)j * K + q]; }, w[c * K + q], dw[c * K + q]);
    }
    check_guard(out, (size_t)m * n);
    check_guard(dx, (size_t)m * k);
    check_guard(dw, (size_t)n * k);
  }
  for (int i = 0; i < rounds(12); i++) {
    const int rows = pick(1, i % 4 ? 40 : 600), columns = pick(1, 90), vocabulary = pick(1, 900);
    auto x = random_floats((size_t)rows * columns), w = random_floats((size_t)vocabulary * columns), scale = random_floats(1);
    auto losses = guarded((size_t)rows * 2), dx = guarded((size_t)rows * columns), dw = guarded((size_t)vocabulary * columns);
    vector<int> targets((size_t)rows);
    for (int& target : targets) target = pick(-1, vocabulary - 1);
    using namespace crossEntropy_op;
    Call loss(t, op_crossEntropy);
    loss.rows(x_, x.data()).rows(weight_, w.data()).rows(targets_, targets.data(), kI32).rows(scale_, scale.data()).rows(losses_, losses.data());
    if (i % 3) loss.rows(dx_, dx.data()).rows(weightGrad_, dw.data());
    expect("code", loss.ints({rows, columns, vocabulary}).run(), kOk, 1, 0);
    check_guard(losses, (size_t)rows * 2);
    check_guard(dx, (size_t)rows * columns);
    check_guard(dw, (size_t)vocabulary * columns);
  }
  for (int i = 0; i < rounds(12); i++) {
    const int kv = pick(1, 3), heads = kv * pick(1, 4), dim = 2 * pick(1, 64), first = pick(1, 90), second = pick(0, 30), past = pick(0, 200), rows = first + second;
    const int cache = past + first + second;
    const size_t size = (size_t)rows * heads * dim, cached = (size_t)cache * kv * dim;
    auto query = random_floats(size), out = random_floats(size), dout = random_floats(size), keys = random_floats(cached), values = random_floats(cached);
    auto dquery = guarded(size), dkeys = guarded(cached), dvalues = guarded(cached), lse = guarded((size_t)rows * heads);
    vector<int> sequences = {0, first, 0, 2, first, second, 2, 2}, segments = {0, past, past, first, 0, past, past + first, second};
    Call forward(t, op_attention), back(t, op_attentionGrad);
    forward.rows(0, query.data()).rows(1, keys.data()).rows(2, values.data()).rows(3, sequences.data(), kI32).rows(4, segments.data(), kI32);
    forward.rows(5, out.data()).rows(6, lse.data()).ints({rows, 2, 4, heads, kv, dim, cache}).r.floats[0] = 0.1f;
    expect("code", forward.run(), kOk, 1, 0);
    back.rows(0, query.data()).rows(1, keys.data()).rows(2, values.data()).rows(3, sequences.data(), kI32).rows(4, segments.data(), kI32);
    back.rows(5, out.data()).rows(6, lse.data()).rows(7, dout.data()).rows(8, dquery.data()).rows(9, dkeys.data()).rows(10, dvalues.data());
    back.ints({rows, 2, 4, heads, kv, dim, cache}).r.floats[0] = 0.1f;
    expect("code", back.run(), kOk, 1, 0);
    check_guard(lse, (size_t)rows * heads);
    check_guard(dquery, size);
    check_guard(dkeys, cached);
    check_guard(dvalues, cached);
  }
  for (int n : {1, 15, 100, 1280})
    for (int m : {1, 2, 37}) {
      const size_t size = (size_t)m * n;
      auto x = random_floats(2 * size), d = random_floats(2 * size), w = random_floats((size_t)n);
      auto dx = guarded(2 * size), dw = guarded((size_t)n), norms = guarded(3), schedule = vector<float>{0.1f, 0.2f, 0.3f};
      Call norm(t, op_rmsNormGrad);
      norm.rows(0, x.data()).rows(1, w.data()).rows(2, d.data()).rows(4, dx.data()).rows(5, dw.data()).ints({m, n}).r.floats[0] = 1e-5f;
      norm.run();
      check_guard(dw, (size_t)n);
      Call(t, op_swigluGrad).rows(0, dx.data()).rows(1, d.data()).ints({m, n}).run();
      Call(t, op_siluGrad).rows(0, dx.data()).rows(1, d.data()).ints({2 * m, n}).run();
      check_guard(dx, 2 * size);
      Call(t, op_globalNorm).rows(0, d.data()).rows(1, norms.data()).ints({(int)size}).run();
      check_guard(norms, 3);
      Call step(t, op_adamw);
      auto parameters = guarded(size), first = guarded(size), second = guarded(size), grad = guarded(size);
      step.rows(0, parameters.data()).rows(1, grad.data()).rows(2, first.data()).rows(3, second.data()).rows(4, norms.data()).rows(5, schedule.data());
      step.ints({(int)size}).run();
      for (auto* v : {&parameters, &first, &second, &grad}) check_guard(*v, size);
    }
}

int main(int argc, char** argv) {
  std::string only;
  for (int i = 1; i < argc; i++) {
    if (std::string(argv[i]) == "--quick") quick = true;
    else only = argv[i];
  }
  const std::pair<const char*, void (*)(const KernelTable&)> checks[] = {
      {"pack", check_pack}, {"linear", check_linear}, {"attention", check_attention}, {"rope", check_rope}, {"rows", check_rows}, {"frozen", check_frozen}, {"loss", check_frozen_loss}, {"training", check_training}};
  bool any = false, found = false;
  for (auto* t : kernels_of_this_cpu()) {
    if (!only.empty() && only != t->isa) continue;
    found = true;
    for (auto& c : checks) {
      rng.seed(1);
      failed = false;
      worst = 0;
      c.second(*t);
      printf("%-7s %-10s %s, largest error %.2g\n", t->isa, c.first, failed ? "WRONG" : "ok", worst);
      any |= failed;
    }
    if (!quick) printf("%-7s peak %.0f G multiply-adds/s f32, %.0f int8\n", t->isa, t->peak_f32() * 1e-9, t->peak_int8() * 1e-9);
  }
  if (!found) printf("this machine has no instruction set '%s'\n", only.c_str());
  return any || !found;
}
