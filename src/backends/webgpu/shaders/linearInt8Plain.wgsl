// out = x weight^T (+ residual) for the outputs [first, first + rows_here) of a quantized weight, x in 8 bits (quantizeRows.wgsl): products by
// group of 32 are exact, each group is scaled by the product of both scales. A thread an element of out.

// include weight

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = workgroup_index(group, groups) * 256 + lane;
  if (i >= p.rows * p.columns) {
    return;
  }
  let row = i / p.columns;
  let output = i - row * p.columns;
  var sum = 0.0;
  for (var g = 0u; g < p.code_groups; g++) {
    var products = 0;
    var total = 0;
    for (var step = 0u; step < 8; step++) {
      let activations = x[p.x_at + 8 * (row * p.code_groups + g) + step];
      let here = dot4(activations, 0x01010101u);
      // Unsigned codes of 8 bits are taken 128 down.
      if (weight_type == 5) {
        products += dot4(activations, four_codes(output, g, step) ^ 0x80808080u) + 128 * here;
      } else {
        products += dot4(activations, four_codes(output, g, step));
      }
      total += here;
    }
    let x_scale = x_scales[p.x_scales_at + row * p.code_groups + g];
    if (weight_type == 3) {
      sum += f32(products) * (x_scale * weight_scale(output, g));
    } else if (weight_type == 4) {
      sum += f32(products - 8 * total) * (x_scale * weight_scale(output, g));
    } else {
      let factors = weight_factors(output, g * 32 / weight_group);
      sum += f32(products) * (x_scale * factors.x) + factors.y * (x_scale * f32(total));
    }
  }
  let at = row * p.outputs + p.first + output;
  if (has_residual) {
    sum += residual[p.residual_at + at];
  }
  out[p.out_at + at] = sum;
}
