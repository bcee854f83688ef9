// Words to records when a program is read, and records made ready for a run. See program.h.
#include "program.h"

#include <algorithm>
#include <cstring>

namespace openelm {

namespace {

constexpr int64_t kArenaUnit = 256;
enum OperandKind { kNone, kPersistent, kArena, kParams };

class Words {
 public:
  Words(const int32_t* words, size_t count) : at_(words), end_(words + count) {}
  bool done() const { return at_ == end_; }
  bool has(size_t count) const { return static_cast<size_t>(end_ - at_) >= count; }
  int32_t next() { return *at_++; }

 private:
  const int32_t *at_, *end_;
};

}  // namespace

std::unique_ptr<Program> Program::read(const KernelTable& table, const std::vector<Access>& accesses, const int32_t* data, size_t count,
                                       int64_t arena_bytes, size_t params, const Find& find, std::string& message) {
  std::unique_ptr<Program> made(new Program(table));
  Program& p = *made;
  p.arena_bytes_ = arena_bytes;
  p.params_.resize(params);
  const int64_t param_count = static_cast<int64_t>(params);
  std::vector<int> first_access;   // of each op, in accesses
  for (int op = 0, at = 0; op < op_count; at += kOpSizes[op++].operands) first_access.push_back(at);

  Words words(data, count);
  while (!words.done()) {
    const int32_t index = static_cast<int32_t>(p.records_.size());
    const auto wrong = [&](const char* what) {
      message = "record " + std::to_string(index) + ": " + what;
      return std::unique_ptr<Program>();
    };
    const int32_t op = words.next();
    if (op < 0 || op >= op_count) return wrong("unknown op");
    const OpSize& size = kOpSizes[op];
    if (!table.ops[op].run) return wrong("this build has no such op");
    if (!words.has(static_cast<size_t>(size.operands * 4 + size.ints * 2 + size.floats))) return wrong("words are missing");
    Record record{};
    for (int i = 0; i < size.operands; i++) {
      const int32_t kind = words.next(), place = words.next(), offset = words.next(), elements = words.next();
      Operand& operand = record.operands[i];
      operand.elements = elements;
      const int64_t last = int64_t(offset) + elements;
      if (kind == kNone) continue;
      if (offset < 0 || elements < 0 || place < 0) return wrong("a negative size");
      const Access access = accesses[static_cast<size_t>(first_access[static_cast<size_t>(op)] + i)];
      if (kind == kPersistent) {
        Storage* buffer = find(place);
        if (!buffer) return wrong("a buffer that is unknown or freed");
        if (last > buffer->elements) return wrong("a view past the end of its buffer");
        operand.dtype = buffer->dtype;
        if (buffer->is_weight()) {
          if (access != Access::read || offset) return wrong("a weight can only be read as a whole");
          operand.weight = &buffer->weight;
        } else {
          operand.data = buffer->data + int64_t(offset) * element_bytes(buffer->dtype);
        }
        p.ids_.push_back(place);
        if (access != Access::write) p.reads_.push_back({buffer, index});
        if (access != Access::read) p.writes_.push_back({buffer, index});
      } else if (kind == kArena) {
        operand.dtype = kF32;
        const int64_t at = place * kArenaUnit + int64_t(offset) * 4;
        if (at + int64_t(elements) * 4 > arena_bytes) return wrong("a view past the end of the arena");
        p.places_.push_back({index, i, at});
      } else if (kind == kParams) {
        operand.dtype = kI32;
        if (last > param_count || access != Access::read) return wrong("a view past the end of the params");
        operand.data = p.params_.data() + offset;
      } else {
        return wrong("an unknown kind of operand");
      }
    }
    for (int i = 0; i < size.ints; i++) {
      record.ints[i] = words.next();
      const int32_t param = words.next();
      if (record.ints[i] < 0 || param < -1 || param >= param_count) return wrong("a size out of range");
      if (param >= 0) p.dynamics_.push_back({index, i, param, record.ints[i]});
    }
    for (int i = 0; i < size.floats; i++) {
      const int32_t bits = words.next();
      std::memcpy(&record.floats[i], &bits, 4);
    }
    const OpKernel& kernel = table.ops[op];
    if (kernel.scratch) p.scratch_bytes_ = std::max(p.scratch_bytes_, static_cast<int64_t>(kernel.scratch(record)));
    p.ops_.push_back(op);
    p.records_.push_back(record);
    const int stages = kernel.stages * (kernel.repeats ? kernel.repeats(record) : 1);
    for (int stage = 0; stage < stages; stage++) p.steps_.push_back({index, stage});
  }
  p.chunks_.resize(p.steps_.size());
  return made;
}

int Program::set_params(const int32_t* params, int32_t& record) {
  std::copy(params, params + params_.size(), params_.begin());
  for (const Dynamic& d : dynamics_) {
    const int32_t value = params_[static_cast<size_t>(d.param)];
    if (value < 0 || value > d.max) {
      record = d.record;
      return kSizeOutOfRange;
    }
    records_[static_cast<size_t>(d.record)].ints[d.index] = value;
  }
  return kOk;
}

void Program::place(uint8_t* arena, uint8_t* scratch) {
  for (const Place& place : places_) records_[static_cast<size_t>(place.record)].operands[place.operand].data = arena + place.offset;
  for (Record& record : records_) record.scratch = scratch;
}

int Program::count_chunks(int32_t& record) {
  for (size_t i = 0; i < steps_.size(); i++) {
    const Step at = steps_[i];
    chunks_[i] = kernel(at.record).chunks(records_[static_cast<size_t>(at.record)], at.stage);
    if (chunks_[i] < 0 || chunks_[i] > kMaxChunks) {
      record = at.record;
      return kSizeOutOfRange;
    }
  }
  return kOk;
}

}  // namespace openelm
