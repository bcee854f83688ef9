// An element of a weight of any type, in the order of weights.ts: `weight` and `scales` are words, `weight_type` and
// `weight_group` constants, p.stride the words of a row and p.groups its scales.

fn code_word(row: u32, word: u32) -> u32 {
  return weight[p.weight_at + row * p.stride + word];
}

fn half_of(word: u32, which: u32) -> f32 {
  return select(unpack2x16float(word).x, unpack2x16float(word).y, which == 1);
}

// The scale of a group of q8 or q4.
fn weight_scale(row: u32, group: u32) -> f32 {
  let at = row * p.groups + group;
  return half_of(scales[p.scales_at + at / 2], at % 2);
}

// The scale and the minimum of a group of an affine type.
fn weight_factors(row: u32, group: u32) -> vec2f {
  return unpack2x16float(scales[p.scales_at + row * p.groups + group]);
}

// Four codes, a byte each: columns 4 step .. 4 step + 3 of a group of 32. Of q8 they are signed, of q4 8 more than what they stand for.
fn four_codes(row: u32, group: u32, step: u32) -> u32 {
  switch (weight_type) {
    case 3, 5: {
      return code_word(row, 8 * group + step);
    }
    case 4, 6: {
      return (code_word(row, 4 * group + step % 4) >> (step / 4 * 4)) & 0x0f0f0f0f;
    }
    default: {
      let low = code_word(row, 3 * group + step / 4) >> (step % 4 * 2);
      let high = code_word(row, 3 * group + 2) >> step;
      return (low & 0x03030303) | ((high & 0x01010101) << 2);
    }
  }
}

fn weight_value(row: u32, column: u32) -> f32 {
  switch (weight_type) {
    case 0: {
      return bitcast<f32>(code_word(row, column));
    }
    case 1: {
      return half_of(code_word(row, column / 2), column % 2);
    }
    case 2: {
      let word = code_word(row, column / 2);
      return bitcast<f32>(select(word << 16, word & 0xffff0000, column % 2 == 1));
    }
    default: {}
  }
  let codes = four_codes(row, column / 32, column / 4 % 8);
  let shift = column % 4 * 8;
  let code = (codes >> shift) & 0xff;
  if (weight_type == 3) {
    return f32(bitcast<i32>(code << 24) >> 24) * weight_scale(row, column / 32);
  }
  if (weight_type == 4) {
    return (f32(code) - 8.0) * weight_scale(row, column / 32);
  }
  let factors = weight_factors(row, column / weight_group);
  return f32(code) * factors.x + factors.y;
}
