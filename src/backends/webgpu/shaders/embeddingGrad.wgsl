// tableGrad[ids[r]] += dout[r], in the order of the rows and without atomics: the workgroup of an id's first row adds all rows
// of that id, the others find an earlier one and end. It reads all ids, from workgroup memory 256 at a time; a workgroup's y takes
// 256 columns. Rows whose id is skip - 1 are left out, and those outside of this part of the table: `part_rows` from `first_row` on.
var<workgroup> some_ids: array<u32, 256>;
var<workgroup> wanted: u32;
var<workgroup> earlier: u32;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = group.x;
  if (lane == 0u) {
    let own = u32(ids[p.ids_at + row]);
    if (own >= p.table_rows) { index_out_of_range(); }
    wanted = own;
    earlier = select(0u, 1u, own + 1u == p.skip || own < p.first_row || own - p.first_row >= p.part_rows);
  }
  let id = workgroupUniformLoad(&wanted);
  for (var r = lane; r < row; r += 256u) {
    if (u32(ids[p.ids_at + r]) == id) { earlier = 1u; }
  }
  if (workgroupUniformLoad(&earlier) == 1u) { return; }
  let column = group.y * 256u + lane;
  let at = p.table_grad_at + (id - p.first_row) * p.columns + column;
  var sum = 0.0;
  if (column < p.columns) { sum = table_grad[at]; }
  for (var first = row; first < p.rows; first += 256u) {
    workgroupBarrier();
    if (first + lane < p.rows) { some_ids[lane] = u32(ids[p.ids_at + first + lane]); }
    workgroupBarrier();
    for (var i = 0u; i < min(256u, p.rows - first); i++) {
      if (some_ids[i] == id && column < p.columns) { sum += dout[p.dout_at + (first + i) * p.columns + column]; }
    }
  }
  if (column < p.columns) { table_grad[at] = sum; }
}
