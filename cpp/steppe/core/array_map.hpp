#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "steppe/core/errors.hpp"

namespace steppe {

enum class DType : std::uint8_t { float32, float64, int32, int64, uint8, uint32, uint64 };

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::float32;
  else if constexpr (std::is_same_v<T, double>) return DType::float64;
  else if constexpr (std::is_same_v<T, std::int32_t>) return DType::int32;
  else if constexpr (std::is_same_v<T, std::int64_t>) return DType::int64;
  else if constexpr (std::is_same_v<T, std::uint8_t>) return DType::uint8;
  else if constexpr (std::is_same_v<T, std::uint32_t>) return DType::uint32;
  else {
    static_assert(std::is_same_v<T, std::uint64_t>, "an Array cannot hold this type");
    return DType::uint64;
  }
}

// A dense C-ordered array that owns its bytes: how states and results leave the native code.
struct Array {
  DType dtype = DType::float64;
  std::vector<std::size_t> shape;
  std::vector<std::byte> data;

  template <class T>
  static Array zeros(std::vector<std::size_t> shape) {
    std::size_t size = 1;
    for (const std::size_t extent : shape) size *= extent;
    return {dtype_of<T>(), std::move(shape), std::vector<std::byte>(size * sizeof(T))};
  }
  template <class T>
  static Array copy_of(std::span<const T> values, std::vector<std::size_t> shape) {
    Array array = zeros<T>(std::move(shape));
    invariant(array.data.size() == values.size_bytes(), "an array's shape and its values disagree");
    if (!values.empty()) std::memcpy(array.data.data(), values.data(), values.size_bytes());
    return array;
  }
  template <class T>
  static Array copy_of(std::span<const T> values) {
    return copy_of(values, {values.size()});
  }
  template <class T>
  static Array scalar(T value) {
    return copy_of(std::span<const T>(&value, 1));
  }

  // The values, which must be of type T. std::vector<std::byte> is aligned for every type by operator new.
  template <class T>
  std::span<T> as() {
    check<T>();
    return {reinterpret_cast<T*>(data.data()), data.size() / sizeof(T)};
  }
  template <class T>
  std::span<const T> as() const {
    check<T>();
    return {reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T)};
  }

 private:
  template <class T>
  void check() const {
    if (dtype != dtype_of<T>())
      throw InvalidArgument("state: an array has another dtype than the fit it is loaded into");
  }
};

using ArrayMap = std::map<std::string, Array>;

// The array of that name, or an InvalidArgument that says it is missing.
inline const Array& at(const ArrayMap& arrays, const std::string& name) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) throw InvalidArgument("state: it lacks the array '" + name + "'");
  return found->second;
}

// Copies the array of that name, which must have as many values as there are places.
template <class T>
void copy_at(const ArrayMap& arrays, const std::string& name, std::span<T> to) {
  const auto values = at(arrays, name).template as<T>();
  if (values.size() != to.size()) {
    throw InvalidArgument("state: the array '" + name + "' has " + std::to_string(values.size()) +
                          " values where this fit has " + std::to_string(to.size()) +
                          "; resume with the data, parameters and ranks it was written with");
  }
  std::ranges::copy(values, to.begin());
}

template <class T>
T scalar_at(const ArrayMap& arrays, const std::string& name) {
  T value{};
  copy_at(arrays, name, std::span<T>(&value, 1));
  return value;
}

}  // namespace steppe
