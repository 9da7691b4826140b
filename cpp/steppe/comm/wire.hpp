#pragma once

#include <cstring>
#include <span>
#include <type_traits>

#include "steppe/core/bytes.hpp"
#include "steppe/core/errors.hpp"

namespace steppe {

// Trivially copyable values, one behind the other, in native byte order. No alignment is assumed: memcpy both ways.
class WireWriter {
 public:
  explicit WireWriter(Bytes& bytes) : bytes_(bytes) {}

  template <class T>
  void put(const T& value) {
    put(std::span<const T>(&value, 1));
  }
  template <class T>
  void put(std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (values.empty()) return;
    const std::size_t offset = bytes_.size();
    bytes_.resize(offset + values.size_bytes());
    std::memcpy(bytes_.data() + offset, values.data(), values.size_bytes());
  }

 private:
  Bytes& bytes_;
};

class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool empty() const noexcept { return bytes_.empty(); }

  template <class T>
  T get() {
    T value;
    get(std::span<T>(&value, 1));
    return value;
  }
  template <class T>
  void get(std::span<T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    invariant(values.size_bytes() <= bytes_.size(), "a frame ends before its contents do");
    if (!values.empty()) std::memcpy(values.data(), bytes_.data(), values.size_bytes());
    bytes_ = bytes_.subspan(values.size_bytes());
  }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace steppe
