// tableGrad[ids[r]] += dout[r], in the order of the rows: the workgroup of an id's first row adds all rows of that id, the others find an
// earlier one and end. It reads all ids once; of 8192 rows at a time, those that have its id are bits in workgroup memory, so an
// invocation looks at 32 rows at once, and asks for four before it adds any. A workgroup's y takes 256 columns. Rows whose id is skip - 1
// are left out, and those outside of this part of the table: `part_rows` from `first_row` on.
const lanes = 256u;
const words = lanes;

var<workgroup> same: array<atomic<u32>, words>;
var<workgroup> wanted: u32;
var<workgroup> earlier: u32;

@compute @workgroup_size(lanes)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x;
  if (lane == 0u) {
    let own = u32(ids[p.ids_at + row]);
    if (own >= p.table_rows) { index_out_of_range(); }
    wanted = own;
    earlier = select(0u, 1u, own + 1u == p.skip || own < p.first_row || own - p.first_row >= p.part_rows);
  }
  let id = workgroupUniformLoad(&wanted);
  for (var r = lane; r < row; r += lanes) {
    if (u32(ids[p.ids_at + r]) == id) { earlier = 1u; }
  }
  if (workgroupUniformLoad(&earlier) == 1u) { return; }
  let column = group.y * lanes + lane;
  let at = p.table_grad_at + (id - p.first_row) * p.columns + column;
  var sum = 0.0;
  if (column < p.columns) { sum = table_grad[at]; }
  for (var first = row; first < p.rows; first += 32u * words) {
    let count = min(32u * words, p.rows - first);
    workgroupBarrier();
    atomicStore(&same[lane], 0u);
    workgroupBarrier();
    for (var r = lane; r < count; r += lanes) {
      if (u32(ids[p.ids_at + first + r]) == id) { atomicOr(&same[r / 32u], 1u << (r % 32u)); }
    }
    workgroupBarrier();
    let last = select(0u, (count + 31u) / 32u, column < p.columns);
    for (var word = 0u; word < last; word++) {
      var left = atomicLoad(&same[word]);
      while (left != 0u) {
        var some: vec4f;
        for (var i = 0u; i < 4u; i++) {
          some[i] = 0.0;
          if (left != 0u) { some[i] = dout[p.dout_at + (first + 32u * word + firstTrailingBit(left)) * p.columns + column]; }
          left &= left - 1u;
        }
        sum = (((sum + some.x) + some.y) + some.z) + some.w;
      }
    }
  }
  if (column < p.columns) { table_grad[at] = sum; }
}
