// The table of one instruction set's kernels, filled by op id. `kernels_<isa>` is all that the outside sees. One that differs from
// another (OPENELM_BASE) in its int8 products only takes the rest from there.
#include "internal.h"

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)
#define JOIN_OF(a, b) a##b
#define JOIN(a, b) JOIN_OF(a, b)

namespace openelm {
namespace OPENELM_ISA {

static constexpr OpKernel linear_kernel = {2, linear_scratch, linear_chunks, linear_run, linear_repeats};

#if defined(OPENELM_BASE)
static KernelTable filled() {
  KernelTable t = *JOIN(kernels_, OPENELM_BASE)();
#if defined(OPENELM_EVEX)
  t.isa = "avxvnni";
#else
  t.isa = STRING(OPENELM_ISA);
#endif
  t.ops[op_linear] = linear_kernel;
  t.peak_int8 = peak_int8;
  return t;
}
// Made when it is first asked for: at load time the CPU is not known to have these instructions.
static const KernelTable* made() {
  static const KernelTable table = filled();
  return &table;
}
#else

template <int kRows, int kColumns>
static int by_rows(const Record& r, int) { return row_chunks(r.ints[kRows], r.ints[kColumns]); }
// Chunks of an op whose sizes include `rows` and `columns`.
#define ROWS_OF(op) by_rows<op##_op::i_rows_, op##_op::i_columns_>

// Stages, scratch, chunks, run, repeats: see OpKernel.
static constexpr KernelTable filled() {
  KernelTable t{};
  t.isa = STRING(OPENELM_ISA);
  t.ops[op_embedding] = {1, nullptr, ROWS_OF(embedding), embedding_run, nullptr};
  t.ops[op_rmsNorm] = {1, nullptr, ROWS_OF(rmsNorm), rms_norm_run, nullptr};
  t.ops[op_linear] = linear_kernel;
  t.ops[op_qkNormRope] = {1, nullptr, qk_norm_rope_chunks, qk_norm_rope_run, nullptr};
  t.ops[op_attention] = {1, nullptr, attention_chunks, attention_run, nullptr};
  t.ops[op_swiglu] = {1, nullptr, ROWS_OF(swiglu), swiglu_run, nullptr};
  t.ops[op_silu] = {1, nullptr, ROWS_OF(silu), silu_run, nullptr};
  t.ops[op_gatherRows] = {1, nullptr, ROWS_OF(gatherRows), gather_rows_run, nullptr};
  t.ops[op_argmax] = {1, nullptr, ROWS_OF(argmax), argmax_run, nullptr};
  t.ops[op_tokenLogprob] = {1, nullptr, ROWS_OF(tokenLogprob), token_logprob_run, nullptr};
  t.ops[op_copy] = {1, nullptr, ROWS_OF(copy), copy_run, nullptr};
  t.ops[op_packInt16] = {1, nullptr, ROWS_OF(packInt16), pack_int16_run, nullptr};
  t.ops[op_unpackInt16] = {1, nullptr, ROWS_OF(unpackInt16), unpack_int16_run, nullptr};
  t.ops[op_dropout] = {1, nullptr, dropout_chunks, dropout_run, nullptr};
  t.ops[op_scaleColumns] = {1, nullptr, ROWS_OF(scaleColumns), scale_columns_run, nullptr};
  t.ops[op_doraFactors] = {1, nullptr, dora_factors_chunks, dora_factors_run, nullptr};
  t.ops[op_embeddingGrad] = {1, nullptr, embedding_grad_chunks, embedding_grad_run, nullptr};
  t.ops[op_rmsNormGrad] = {2, rms_norm_grad_scratch, rms_norm_grad_chunks, rms_norm_grad_run, nullptr};
  t.ops[op_linearInputGrad] = {2, input_grad_scratch, input_grad_chunks, input_grad_run, input_grad_repeats};
  t.ops[op_linearWeightGrad] = {2, weight_grad_scratch, weight_grad_chunks, weight_grad_run, weight_grad_repeats};
  t.ops[op_qkNormRopeGrad] = {2, qk_norm_rope_grad_scratch, qk_norm_rope_grad_chunks, qk_norm_rope_grad_run, nullptr};
  t.ops[op_attentionGrad] = {3, attention_grad_scratch, attention_grad_chunks, attention_grad_run, nullptr};
  t.ops[op_swigluGrad] = {1, nullptr, ROWS_OF(swigluGrad), swiglu_grad_run, nullptr};
  t.ops[op_siluGrad] = {1, nullptr, ROWS_OF(siluGrad), silu_grad_run, nullptr};
  t.ops[op_scaleColumnsGrad] = {1, nullptr, scale_columns_grad_chunks, scale_columns_grad_run, nullptr};
  t.ops[op_doraFactorsGrad] = {1, nullptr, dora_factors_grad_chunks, dora_factors_grad_run, nullptr};
  t.ops[op_crossEntropy] = {1, cross_entropy_scratch, cross_entropy_chunks, cross_entropy_run, cross_entropy_repeats};
  t.ops[op_preferenceLoss] = {1, nullptr, preference_loss_chunks, preference_loss_run, nullptr};
  t.ops[op_globalNorm] = {2, global_norm_scratch, global_norm_chunks, global_norm_run, nullptr};
  t.ops[op_adamw] = {1, nullptr, adamw_chunks, adamw_run, nullptr};
  t.pack_rows = pack_rows;
  t.to_f32 = to_f32;
  t.peak_f32 = peak_f32;
  t.peak_int8 = peak_int8;
  return t;
}
static constexpr KernelTable table = filled();

// Every op has its kernel, and a Record has room for what it takes.
static constexpr bool complete() {
  for (int op = 0; op < op_count; op++) {
    const OpKernel& kernel = table.ops[op];
    const OpSize& size = kOpSizes[op];
    if (kernel.stages < 1) return false;
    if (size.operands > kMaxOperands || size.ints > kMaxInts || size.floats > kMaxFloats) return false;
  }
  return true;
}
static_assert(complete(), "an op of op_table.h has no row above, or more operands, sizes or constants than a Record holds");
static const KernelTable* made() { return &table; }
#endif

}  // namespace OPENELM_ISA

const KernelTable* JOIN(kernels_, OPENELM_ISA)() { return OPENELM_ISA::made(); }

}  // namespace openelm
