// What stands before every shader, behind the generated declarations: `p` (uniforms), bindings, constants, and in those that call it
// `index_out_of_range()`, which tells that an index of this record points outside its table (the first such record counts).

// The number of a workgroup of a dispatch [n, 1, 1], which may have been folded: past the end for some.
fn workgroup_index(id: vec3u, count: vec3u) -> u32 {
  return id.y * count.x + id.x;
}

fn sigmoid(x: f32) -> f32 {
  return 1.0 / (1.0 + exp(min(-x, 87.0)));
}

fn silu(x: f32) -> f32 {
  return x * sigmoid(x);
}

// a / b as near as f32 comes, where the language leaves a few last places open: codes that differ by them would show.
fn divide(a: f32, b: f32) -> f32 {
  let near = a / b;
  return select(near, fma(fma(-near, b, a), 1.0 / b, near), abs(near) < 3.0e38);
}

// Four signed bytes, from the lowest up.
fn signed_bytes(word: u32) -> vec4f {
  return vec4f((vec4i(bitcast<i32>(word)) << vec4u(24, 16, 8, 0)) >> vec4u(24));
}

// Which of two has the larger x, or the smaller y where these are equal.
fn first_of(a: vec2u, b: vec2u) -> vec2u {
  return select(a, b, b.x > a.x || (b.x == a.x && b.y < a.y));
}
