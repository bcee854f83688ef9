// The int8 tiles of WebAssembly where its engines run them on x86, as WebAssembly's own text: five rows by half a panel of widened
// weights, and one row by a panel as it is stored. An engine's compiler takes instructions as they come and has fifteen registers;
// from intrinsics LLVM makes all products of a group first and half of them are spilled (31 billion multiply-adds a second
// instead of 39 in q8). So here is the order that fits: ten sums, two weights, a row's word and two products, one of which
// is added after the next is made. The sums of floats wait in memory. Included by quant_wasm.h alone.
#pragma once

#define SET(n) "local.set " #n "\n"
#define GET(n) "local.get " #n "\n"
#define LOAD(from, at) GET(from) "v128.load " #at "\n"
#define SPLAT(from, at) GET(from) "v128.load32_splat " #at ":p2align=2\n"
#define STORE(at) "v128.store " #at "\n"
#define ADVANCE(n, by) GET(n) "i32.const " #by "\ni32.add\n" SET(n)
#define AGAIN GET(2) "i32.const -1\ni32.add\nlocal.tee 2\nbr_if 0\nend_loop\n"   // a group less to come
#define FUNCTION(name, params, locals)                                                                                       \
  ".section .text." name ",\"\",@\n.globl " name "\n.hidden " name "\n.type " name ",@function\n" name ":\n.functype " name \
  " (" params ") -> ()\n.local " locals "\n"

// sum += product of codes; the fused multiply-add, or both.
#define PAIRS "i32x4.dot_i16x8_s\n"
#define ADD_PAIRS "i32x4.add\n"
#define NIBBLES "i16x8.relaxed_dot_i8x16_i7x16_s\n"
#define ADD_NIBBLES "i16x8.add\n"
#define NO_WIDENING ""
#define WIDEN_NIBBLES "i32x4.extadd_pairwise_i16x8_s\n"
#if defined(__wasm_relaxed_simd__)
#define MULTIPLY_ADD(sum_from) sum_from "f32x4.relaxed_madd\n"
#else
#define MULTIPLY_ADD(sum_from) "f32x4.mul\n" sum_from "f32x4.add\n"
#endif

// ---- Five rows by two vectors of four outputs. Parameters: 0 weights [groups][parts][2 vectors], then the vectors' factors; 1 words
// [groups][parts][5 rows]; 2 groups; 3 the rows' scales and 4 what their sums start with [groups][5]; 5 sums of floats [5][2][4].
// Locals: 6 to 15 sums of integers; 16, 17 weights; 18 a row's word; 19, 20 products, of which one waits.
#define PRODUCT(DOT, to, weights) GET(18) GET(weights) DOT SET(to)
#define ADD(SUM, sum, product) GET(sum) GET(product) SUM SET(sum)
#define WORD(DOT, SUM, at, sum, WAITING) SPLAT(1, at) SET(18) PRODUCT(DOT, 19, 16) WAITING PRODUCT(DOT, 20, 17) ADD(SUM, sum, 19)
#define FIRST_PART(DOT, SUM, ...)                                                                                \
  LOAD(0, 0) SET(16) LOAD(0, 16) SET(17)                                                                         \
  WORD(DOT, SUM, 0, 6, __VA_ARGS__) WORD(DOT, SUM, 4, 8, ADD(SUM, 7, 20)) WORD(DOT, SUM, 8, 10, ADD(SUM, 9, 20)) \
  WORD(DOT, SUM, 12, 12, ADD(SUM, 11, 20)) WORD(DOT, SUM, 16, 14, ADD(SUM, 13, 20)) ADVANCE(0, 32) ADVANCE(1, 20)
#define PART(DOT, SUM) FIRST_PART(DOT, SUM, ADD(SUM, 15, 20))
#define EIGHT_PARTS(DOT, SUM, FIRST)                                                                             \
  FIRST PART(DOT, SUM) PART(DOT, SUM) PART(DOT, SUM) PART(DOT, SUM) PART(DOT, SUM) PART(DOT, SUM) PART(DOT, SUM)
#define START(at, a, b) SPLAT(4, at) "local.tee " #a "\n" SET(b)
#define FINISH(WIDEN, sum, factor, at)                                                                           \
  GET(5) GET(sum) WIDEN "f32x4.convert_i32x4_s\n" GET(18) GET(factor) "f32x4.mul\n" MULTIPLY_ADD(LOAD(5, at)) STORE(at)
#define FINISH_ROW(WIDEN, row, a, b, at_a, at_b)                                                                 \
  SPLAT(3, row) SET(18) FINISH(WIDEN, a, 16, at_a) FINISH(WIDEN, b, 17, at_b)
#define FIVE_ROWS(name, PARTS, SUM, WIDEN)                                                                       \
  FUNCTION(name, "i32, i32, i32, i32, i32, i32", "v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128") \
  "loop\n" START(0, 6, 7) START(4, 8, 9) START(8, 10, 11) START(12, 12, 13) START(16, 14, 15) PARTS ADD(SUM, 15, 20) \
  LOAD(0, 0) SET(16) LOAD(0, 16) SET(17)                                                                         \
  FINISH_ROW(WIDEN, 0, 6, 7, 0, 16) FINISH_ROW(WIDEN, 4, 8, 9, 32, 48) FINISH_ROW(WIDEN, 8, 10, 11, 64, 80)      \
  FINISH_ROW(WIDEN, 12, 12, 13, 96, 112) FINISH_ROW(WIDEN, 16, 14, 15, 128, 144)                                 \
  ADVANCE(0, 32) ADVANCE(3, 20) ADVANCE(4, 20) AGAIN "end_function\n"

// ---- One row by a panel. Parameters: 0 weights and 5 their scales, of panels; 1 words [groups][steps][2 or 4]; 2 groups; 3 the row's
// scales and 4 what its sums start with [groups]; 6 sixteen sums of floats, which begin at zero; 7 the masks below. Locals: 8 to 11 sums of
// integers, 12 to 15 of floats; 16 to 18 and 24 the masks: that of codes, then what scales take; 19 to 22 words; 23 weights.
// Once a page (`within`: the bits of an address in it, by groups) weights
// of the page before are read again: page_behind() of simd.h says why.
#define PAGE_BEHIND(n, within) GET(n) "i32.const " #within "\ni32.and\ni32.eqz\nif\n" GET(n) "i32.const -4096\ni32.add\ni32.load 0\ndrop\nend_if\n"
#define ROW_START(a, b, c, d) SPLAT(4, 0) "local.tee " #a "\nlocal.tee " #b "\nlocal.tee " #c "\n" SET(d)
#define CODES(shift) GET(23) "i32.const " #shift "\ni16x8.shr_u\n"
#define ROW_PAIRS(sum, at)                                                                                       \
  GET(sum) LOAD(0, at) "local.tee 23\n" GET(16) "v128.and\n" GET(19) PAIRS ADD_PAIRS CODES(8) GET(20) PAIRS ADD_PAIRS SET(sum)
#define ROW_PAIRS_STEP(a, b, c, d)                                                                               \
  SPLAT(1, 0) SET(19) SPLAT(1, 4) SET(20) ROW_PAIRS(8, a) ROW_PAIRS(9, b) ROW_PAIRS(10, c) ROW_PAIRS(11, d) ADVANCE(1, 8)
#define ROW_NIBBLES(sum, at)                                                                                     \
  GET(sum) GET(19) LOAD(0, at) "local.tee 23\n" GET(16) "v128.and\n" NIBBLES ADD_NIBBLES                         \
  GET(20) CODES(4) GET(16) "v128.and\n" NIBBLES ADD_NIBBLES SET(sum)
#define ROW_NIBBLES_STEP(a, b, c, d)                                                                             \
  SPLAT(1, 0) SET(19) SPLAT(1, 4) SET(20) ROW_NIBBLES(8, a) ROW_NIBBLES(9, b) ROW_NIBBLES(10, c) ROW_NIBBLES(11, d) ADVANCE(1, 8)
#define ROW_WORDS(sum, at)                                                                                       \
  GET(sum) LOAD(0, at) "local.tee 23\n" GET(16) "v128.and\n" GET(19) PAIRS ADD_PAIRS                             \
  CODES(8) GET(16) "v128.and\n" GET(20) PAIRS ADD_PAIRS                                                          \
  CODES(4) GET(16) "v128.and\n" GET(21) PAIRS ADD_PAIRS CODES(12) GET(22) PAIRS ADD_PAIRS SET(sum)
#define ROW_WORDS_STEP(a, b, c, d)                                                                               \
  SPLAT(1, 0) SET(19) SPLAT(1, 4) SET(20) SPLAT(1, 8) SET(21) SPLAT(1, 12) SET(22)                               \
  ROW_WORDS(8, a) ROW_WORDS(9, b) ROW_WORDS(10, c) ROW_WORDS(11, d) ADVANCE(1, 16)
#define FOUR_LINES(STEP)                                                                                         \
  STEP(0, 16, 32, 48) STEP(64, 80, 96, 112) STEP(128, 144, 160, 176) STEP(192, 208, 224, 240)
#define EIGHT_LINES(STEP)                                                                                        \
  FOUR_LINES(STEP) STEP(256, 272, 288, 304) STEP(320, 336, 352, 368) STEP(384, 400, 416, 432) STEP(448, 464, 480, 496)
// Scales, which are finite: the bits of f16 moved to those of f32, times 2^112. An operand below f32's normal numbers costs an x86 a dozen
// cycles, and q8 has such scales. As they are not negative, 112 is added to the exponent instead, which makes of m 2^-24, below f16's normal
// numbers, 2^-15 + m 2^-25; twice that less 2^-14 is the smaller one there and nowhere else, and right.
#define SCALE(at) GET(5) "i32x4.load16x4_s " #at ":p2align=1\ni32.const 13\ni32x4.shl\n" GET(17)
#define ANY_SCALE(at) SCALE(at) "v128.and\n" GET(18) "f32x4.mul\n"
#define POSITIVE_SCALE(at) SCALE(at) "i32x4.add\nlocal.tee 20\n" GET(18) MULTIPLY_ADD(GET(24)) GET(20) "f32x4.pmin\n"
#define ROW_FINISH(WIDEN, SCALE_OF, sum, f, at)                                                                  \
  GET(sum) WIDEN "f32x4.convert_i32x4_s\n" SCALE_OF(at) GET(19) "f32x4.mul\n" MULTIPLY_ADD(GET(f)) SET(f)
#define ROW_OUT(f, at) GET(6) GET(f) STORE(at)
#define ONE_ROW(name, LINES, WIDEN, SCALE_OF, bytes, within)                                                     \
  FUNCTION(name, "i32, i32, i32, i32, i32, i32, i32, i32",                                                       \
           "v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128, v128") \
  LOAD(7, 0) SET(16) LOAD(7, 16) SET(17) LOAD(7, 32) SET(18) LOAD(7, 48) SET(24) "loop\n"                        \
  PAGE_BEHIND(0, within) PAGE_BEHIND(5, 0xfe0)                                                                   \
  ROW_START(8, 9, 10, 11) LINES                                                                                  \
  SPLAT(3, 0) SET(19)                                                                                            \
  ROW_FINISH(WIDEN, SCALE_OF, 8, 12, 0) ROW_FINISH(WIDEN, SCALE_OF, 9, 13, 8)                                    \
  ROW_FINISH(WIDEN, SCALE_OF, 10, 14, 16) ROW_FINISH(WIDEN, SCALE_OF, 11, 15, 24)                                \
  ADVANCE(0, bytes) ADVANCE(3, 4) ADVANCE(4, 4) ADVANCE(5, 32)                                                   \
  AGAIN ROW_OUT(12, 0) ROW_OUT(13, 16) ROW_OUT(14, 32) ROW_OUT(15, 48) "end_function\n"

asm(FIVE_ROWS("openelm_five_rows_pairs",
              EIGHT_PARTS(PAIRS, ADD_PAIRS, FIRST_PART(PAIRS, ADD_PAIRS, )) EIGHT_PARTS(PAIRS, ADD_PAIRS, PART(PAIRS, ADD_PAIRS)),
              ADD_PAIRS, NO_WIDENING)
    ONE_ROW("openelm_row_q8", EIGHT_LINES(ROW_PAIRS_STEP), NO_WIDENING, POSITIVE_SCALE, 512, 0xe00));
#if defined(__wasm_relaxed_simd__)
asm(FIVE_ROWS("openelm_five_rows_nibbles", EIGHT_PARTS(NIBBLES, ADD_NIBBLES, FIRST_PART(NIBBLES, ADD_NIBBLES, )), ADD_NIBBLES,
              WIDEN_NIBBLES)
    ONE_ROW("openelm_row_q4", FOUR_LINES(ROW_NIBBLES_STEP), WIDEN_NIBBLES, ANY_SCALE, 256, 0xf00));
#else
asm(ONE_ROW("openelm_row_q4", FOUR_LINES(ROW_WORDS_STEP), NO_WIDENING, ANY_SCALE, 256, 0xf00));
#endif

extern "C" {
typedef void FiveRows(const uint8_t* weights, const int32_t* words, int groups, const float* scales, const int32_t* starts, float* sums);
FiveRows openelm_five_rows_pairs, openelm_five_rows_nibbles;
typedef void OneRow(const uint8_t* weights, const int32_t* words, int groups, const float* scales, const int32_t* starts,
                    const uint16_t* weight_scales, float* sums, const void* masks);
OneRow openelm_row_q8, openelm_row_q4;
}
