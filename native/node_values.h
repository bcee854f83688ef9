// JavaScript values for the Node door: arguments in, numbers and texts out.
#pragma once
#define NAPI_VERSION 8
#include <node_api.h>

#include <cstdint>
#include <string>
#include <vector>

namespace openelm {

// The arguments of a call, taken one after the other. A wrong one makes `ok` false; the function then returns `wrong()`.
class Args {
 public:
  Args(napi_env env, napi_callback_info info) : env(env) { napi_get_cb_info(env, info, &count_, values_, nullptr, nullptr); }

  void* external() {
    void* data = nullptr;
    ok &= napi_get_value_external(env, next(), &data) == napi_ok && data;
    return data;
  }
  int64_t integer(int64_t low = 0, int64_t high = INT64_C(1) << 52) {
    int64_t value = low - 1;
    ok &= napi_get_value_int64(env, next(), &value) == napi_ok && value >= low && value <= high;
    return value;
  }
  int32_t small(int32_t low = 0, int32_t high = INT32_MAX) { return static_cast<int32_t>(integer(low, high)); }
  std::string text() {
    const napi_value value = next();
    size_t length = 0;
    if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return ok = false, "";
    std::string text(length + 1, '\0');
    napi_get_value_string_utf8(env, value, &text[0], text.size(), &length);
    text.resize(length);
    return text;
  }
  uint8_t* bytes(size_t& length) {
    array = next();
    bool is_array = false;
    void* data = nullptr;
    napi_typedarray_type type;
    size_t elements = 0;
    length = 0;
    if (napi_is_typedarray(env, array, &is_array) != napi_ok || !is_array) return ok = false, nullptr;
    ok &= napi_get_typedarray_info(env, array, &type, &elements, &data, nullptr, nullptr) == napi_ok;
    const size_t size = type == napi_uint8_array ? 1 : type == napi_uint16_array ? 2 : type == napi_int32_array || type == napi_float32_array ? 4 : 0;
    ok &= size > 0;
    length = elements * size;
    return static_cast<uint8_t*>(data);
  }
  napi_value wrong() {
    napi_throw_type_error(env, nullptr, reason);
    return nullptr;
  }

  const napi_env env;
  napi_value array = nullptr;
  bool ok = true;
  const char* reason = "a wrong argument, or a backend that was disposed of";

 private:
  napi_value next() { return at_ < count_ ? values_[at_++] : (ok = false, values_[0]); }
  napi_value values_[10] = {};
  size_t count_ = 10, at_ = 0;
};

inline napi_value number(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}

inline napi_value numbers(napi_env env, const std::vector<double>& values) {
  napi_value result = nullptr;
  napi_create_array_with_length(env, values.size(), &result);
  for (size_t i = 0; i < values.size(); i++) napi_set_element(env, result, static_cast<uint32_t>(i), number(env, values[i]));
  return result;
}

inline napi_value text(napi_env env, const std::string& value) {
  napi_value result = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &result);
  return result;
}

}  // namespace openelm
