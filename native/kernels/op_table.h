// Generated from src/tensor/optable.ts by `npm run generate`: do not edit.
#pragma once
namespace openelm {
constexpr const char* kAbiHash = "eb8758b5";
enum OpId { op_embedding, op_rmsNorm, op_linear, op_qkNormRope, op_attention, op_swiglu, op_silu, op_gatherRows, op_argmax, op_tokenLogprob, op_copy, op_packInt16, op_unpackInt16, op_dropout, op_scaleColumns, op_doraFactors, op_embeddingGrad, op_rmsNormGrad, op_linearInputGrad, op_linearWeightGrad, op_qkNormRopeGrad, op_attentionGrad, op_swigluGrad, op_siluGrad, op_scaleColumnsGrad, op_doraFactorsGrad, op_crossEntropy, op_preferenceLoss, op_globalNorm, op_adamw, op_count };
namespace embedding_op {
enum Operand { table_, ids_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_, i_tableRows_ };
enum Float {  };
}
namespace rmsNorm_op {
enum Operand { x_, weight_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float { f_eps_ };
}
namespace linear_op {
enum Operand { x_, weight_, residual_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_inputs_, i_outputs_, i_int8_ };
enum Float {  };
}
namespace qkNormRope_op {
enum Operand { qkv_, queryNorm_, keyNorm_, rope_, positions_, kvRows_, query_, keys_, values_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_queryHeads_, i_kvHeads_, i_headDim_, i_cacheRows_, i_ropeRows_ };
enum Float { f_eps_ };
}
namespace attention_op {
enum Operand { query_, keys_, values_, sequences_, segments_, out_, logsumexp_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_sequenceCount_, i_segmentCount_, i_queryHeads_, i_kvHeads_, i_headDim_, i_cacheRows_ };
enum Float { f_scale_ };
}
namespace swiglu_op {
enum Operand { x_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float {  };
}
namespace silu_op {
enum Operand { x_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float {  };
}
namespace gatherRows_op {
enum Operand { x_, indices_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_, i_sourceRows_ };
enum Float {  };
}
namespace argmax_op {
enum Operand { x_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float {  };
}
namespace tokenLogprob_op {
enum Operand { logits_, targets_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float {  };
}
namespace copy_op {
enum Operand { x_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float {  };
}
namespace packInt16_op {
enum Operand { x_, packed_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float {  };
}
namespace unpackInt16_op {
enum Operand { packed_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float {  };
}
namespace dropout_op {
enum Operand { x_, residual_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_, i_op_, i_draw_, i_seed_ };
enum Float { f_rate_ };
}
namespace scaleColumns_op {
enum Operand { x_, table_, ids_, residual_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_, i_groups_ };
enum Float {  };
}
namespace doraFactors_op {
enum Operand { weight_, a_, b_, magnitude_, norms_, out_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_inputs_, i_outputs_, i_rank_ };
enum Float { f_scaling_ };
}
namespace embeddingGrad_op {
enum Operand { dout_, ids_, tableGrad_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_, i_tableRows_, i_skip_ };
enum Float {  };
}
namespace rmsNormGrad_op {
enum Operand { x_, weight_, dout_, residual_, dx_, weightGrad_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float { f_eps_ };
}
namespace linearInputGrad_op {
enum Operand { dout_, weight_, residual_, dx_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_inputs_, i_outputs_ };
enum Float {  };
}
namespace linearWeightGrad_op {
enum Operand { dout_, x_, weightGrad_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_inputs_, i_outputs_ };
enum Float {  };
}
namespace qkNormRopeGrad_op {
enum Operand { qkv_, queryNorm_, keyNorm_, rope_, positions_, kvRows_, dquery_, dkeys_, dvalues_, dqkv_, queryNormGrad_, keyNormGrad_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_queryHeads_, i_kvHeads_, i_headDim_, i_cacheRows_, i_ropeRows_ };
enum Float { f_eps_ };
}
namespace attentionGrad_op {
enum Operand { query_, keys_, values_, sequences_, segments_, out_, logsumexp_, dout_, dquery_, dkeys_, dvalues_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_sequenceCount_, i_segmentCount_, i_queryHeads_, i_kvHeads_, i_headDim_, i_cacheRows_ };
enum Float { f_scale_ };
}
namespace swigluGrad_op {
enum Operand { x_, dout_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float {  };
}
namespace siluGrad_op {
enum Operand { x_, dout_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_ };
enum Float {  };
}
namespace scaleColumnsGrad_op {
enum Operand { dout_, x_, table_, ids_, residual_, dx_, tableGrad_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_, i_groups_ };
enum Float {  };
}
namespace doraFactorsGrad_op {
enum Operand { dout_, norms_, magnitudeGrad_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_outputs_ };
enum Float {  };
}
namespace crossEntropy_op {
enum Operand { x_, weight_, targets_, scale_, rowWeights_, losses_, dx_, weightGrad_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_columns_, i_vocabulary_ };
enum Float { f_zLoss_, f_labelSmoothing_ };
}
namespace preferenceLoss_op {
enum Operand { losses_, pairs_, reference_, results_, rowWeights_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_rows_, i_pairCount_, i_kind_ };
enum Float { f_beta_, f_labelSmoothing_ };
}
namespace globalNorm_op {
enum Operand { x_, norms_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_count_ };
enum Float { f_maxNorm_ };
}
namespace adamw_op {
enum Operand { parameters_, grad_, firstMoment_, secondMoment_, norms_, schedule_ };
constexpr bool is_operand(Operand) { return true; }
enum Int { i_count_ };
enum Float { f_beta1_, f_beta2_, f_eps_, f_weightDecay_ };
}
struct OpSize { const char* name; int operands, ints, floats; };
constexpr OpSize kOpSizes[] = {{"embedding", 3, 3, 0}, {"rmsNorm", 3, 2, 1}, {"linear", 4, 4, 0}, {"qkNormRope", 9, 6, 1}, {"attention", 7, 7, 1}, {"swiglu", 2, 2, 0}, {"silu", 2, 2, 0}, {"gatherRows", 3, 3, 0}, {"argmax", 2, 2, 0}, {"tokenLogprob", 3, 2, 0}, {"copy", 2, 2, 0}, {"packInt16", 2, 2, 0}, {"unpackInt16", 2, 2, 0}, {"dropout", 3, 5, 1}, {"scaleColumns", 5, 3, 0}, {"doraFactors", 6, 3, 1}, {"embeddingGrad", 3, 4, 0}, {"rmsNormGrad", 6, 2, 1}, {"linearInputGrad", 4, 3, 0}, {"linearWeightGrad", 3, 3, 0}, {"qkNormRopeGrad", 12, 6, 1}, {"attentionGrad", 11, 7, 1}, {"swigluGrad", 2, 2, 0}, {"siluGrad", 2, 2, 0}, {"scaleColumnsGrad", 7, 3, 0}, {"doraFactorsGrad", 3, 1, 0}, {"crossEntropy", 8, 3, 2}, {"preferenceLoss", 5, 3, 2}, {"globalNorm", 2, 1, 1}, {"adamw", 6, 1, 4}};
}  // namespace openelm
