// The table of one instruction set's kernels, in the op table's order. `kernels_<isa>` is all that the outside sees. One that
// differs from another (OPENELM_BASE) in its int8 products only takes the rest from there.
#include "internal.h"

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)
#define JOIN_OF(a, b) a##b
#define JOIN(a, b) JOIN_OF(a, b)

namespace openelm {
namespace OPENELM_ISA {

static constexpr OpKernel linear_kernel = {2, linear_scratch, linear_chunks, linear_run, linear_repeats};

#if defined(OPENELM_BASE)
static const KernelTable table = [] {
  KernelTable t = *JOIN(kernels_, OPENELM_BASE)();
  t.isa = STRING(OPENELM_ISA);
  t.ops[op_linear] = linear_kernel;
  t.peak_int8 = peak_int8;
  return t;
}();
#else

static int embedding_chunks(const Record& r, int) { return row_chunks(r.ints[embedding_op::i_rows_], r.ints[embedding_op::i_columns_]); }
// The ops whose first two sizes are rows and columns.
static int plain_chunks(const Record& r, int) { return row_chunks(r.ints[0], r.ints[1]); }

static const KernelTable table = {
    STRING(OPENELM_ISA),
    {
        {1, nullptr, embedding_chunks, embedding_run, nullptr},
        {1, nullptr, plain_chunks, rms_norm_run, nullptr},
        linear_kernel,
        {1, nullptr, qk_norm_rope_chunks, qk_norm_rope_run, nullptr},
        {1, nullptr, attention_chunks, attention_run, nullptr},
        {1, nullptr, plain_chunks, swiglu_run, nullptr},
        {1, nullptr, plain_chunks, silu_run, nullptr},
        {1, nullptr, plain_chunks, gather_rows_run, nullptr},
        {1, nullptr, plain_chunks, argmax_run, nullptr},
        {1, nullptr, plain_chunks, token_logprob_run, nullptr},
        {1, nullptr, plain_chunks, copy_run, nullptr},
        {1, nullptr, plain_chunks, pack_bf16_run, nullptr},
        {1, nullptr, plain_chunks, unpack_bf16_run, nullptr},
        {1, nullptr, embedding_grad_chunks, embedding_grad_run, nullptr},
        {2, rms_norm_grad_scratch, rms_norm_grad_chunks, rms_norm_grad_run, nullptr},
        {2, input_grad_scratch, input_grad_chunks, input_grad_run, input_grad_repeats},
        {2, weight_grad_scratch, weight_grad_chunks, weight_grad_run, weight_grad_repeats},
        {2, qk_norm_rope_grad_scratch, qk_norm_rope_grad_chunks, qk_norm_rope_grad_run, nullptr},
        {3, attention_grad_scratch, attention_grad_chunks, attention_grad_run, nullptr},
        {1, nullptr, plain_chunks, swiglu_grad_run, nullptr},
        {1, nullptr, plain_chunks, silu_grad_run, nullptr},
        {5, cross_entropy_scratch, cross_entropy_chunks, cross_entropy_run, cross_entropy_repeats},
        {2, global_norm_scratch, global_norm_chunks, global_norm_run, nullptr},
        {1, nullptr, adamw_chunks, adamw_run, nullptr},
    },
    pack_rows,
    to_f32,
    peak_f32,
    peak_int8,
};
static_assert(op_count == 24, "a new op needs its row here");
#endif

}  // namespace OPENELM_ISA

const KernelTable* JOIN(kernels_, OPENELM_ISA)() { return &OPENELM_ISA::table; }

}  // namespace openelm
