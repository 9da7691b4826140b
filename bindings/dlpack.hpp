#pragma once

#include <cstdint>

// The C structures of DLPack 0.x, which every version of the protocol still exchanges as "dltensor". Names and layout
// are the protocol's: https://dmlc.github.io/dlpack/latest/c_api.html
namespace steppe::bindings::dlpack {

inline constexpr const char* kUnused = "dltensor";

enum Code : std::uint8_t { kInt = 0, kUInt = 1, kFloat = 2 };

struct Device {
  std::int32_t type;  // 1 host, 2 CUDA
  std::int32_t id;
};

struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: C order
  std::uint64_t byte_offset;
};

struct ManagedTensor {
  Tensor tensor;
  void* context;
  void (*deleter)(ManagedTensor* self);
};

}  // namespace steppe::bindings::dlpack
