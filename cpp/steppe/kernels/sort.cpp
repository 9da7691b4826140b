#include "steppe/kernels/sort.hpp"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "steppe/core/macros.hpp"
#include "steppe/kernels/sort_wide.hpp"
#include "steppe/kernels/vector_width.hpp"

namespace steppe::kernels {
namespace {

// The bits of a finite value as an integer of the same order, and back: below zero, more magnitude means less.
template <class K>
[[gnu::always_inline]] inline K flip(K bits) {
  constexpr K magnitude = static_cast<K>(~std::make_unsigned_t<K>{0} >> 1);
  return bits ^ ((bits >> (8 * sizeof(K) - 1)) & magnitude);
}

template <class T>
[[gnu::always_inline]] inline void read_keys(const T* values, std::size_t n, SortKey<T>* keys) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) keys[i] = flip(std::bit_cast<SortKey<T>>(values[i]));
}
template <class T>
[[gnu::always_inline]] inline void write_values(const SortKey<T>* keys, std::size_t n, T* values) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) values[i] = std::bit_cast<T>(flip(keys[i]));
}
STEPPE_MULTIVERSION void to_keys(const float* values, std::size_t n, std::int32_t* keys) { read_keys(values, n, keys); }
STEPPE_MULTIVERSION void to_keys(const double* values, std::size_t n, std::int64_t* keys) {
  read_keys(values, n, keys);
}
STEPPE_MULTIVERSION void to_values(const std::int32_t* keys, std::size_t n, float* values) {
  write_values(keys, n, values);
}
STEPPE_MULTIVERSION void to_values(const std::int64_t* keys, std::size_t n, double* values) {
  write_values(keys, n, values);
}

// The order of 0.0 and -0.0 is that of their indices: adding 0.0 makes them equal.
template <class T>
[[gnu::always_inline]] inline SortKey<T> ordered_bits(T value) {
  return flip(std::bit_cast<SortKey<T>>(value + T{0}));
}

template <class K>
void sort_keys(K* keys, K* scratch, std::size_t n) {
  if (vector_bytes() == 64) return sort_wide(keys, scratch, n);
  sort_digits(keys, scratch, n);
}

// A key is the value's order above the index.
STEPPE_MULTIVERSION void pack_keys(const float* values, std::size_t n, std::int64_t* keys, unsigned) {
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) {
    keys[i] =
        static_cast<std::int64_t>(ordered_bits(values[i])) * (std::int64_t{1} << 32) | static_cast<std::int64_t>(i);
  }
}
// There is no room for all of a double: its lowest bits make way for the index.
STEPPE_MULTIVERSION void pack_keys(const double* values, std::size_t n, std::int64_t* keys, unsigned index_bits) {
  const std::int64_t high = -(std::int64_t{1} << index_bits);
#pragma omp simd
  for (std::size_t i = 0; i < n; ++i) keys[i] = (ordered_bits(values[i]) & high) | static_cast<std::int64_t>(i);
}

// Puts runs of doubles that differ at most in the bits that made way into order.
void order_runs(const double* values, const std::int64_t* keys, std::size_t n, unsigned index_bits,
                std::uint32_t* order) {
  const auto before = [values](std::uint32_t a, std::uint32_t b) {
    return values[a] < values[b] || (values[a] == values[b] && a < b);
  };
  for (std::size_t first = 0; first + 1 < n;) {
    std::size_t last = first + 1;
    while (last < n && keys[last] >> index_bits == keys[first] >> index_bits) ++last;
    if (last - first > 1) std::sort(order + first, order + last, before);
    first = last;
  }
}

}  // namespace

template <class T>
void sort_values(T* values, std::size_t n, SortKey<T>* keys, SortKey<T>* scratch) noexcept {
  to_keys(values, n, keys);
  sort_keys(keys, scratch, n);
  to_values(keys, n, values);
}

template <class T>
void sort_order(const T* values, std::size_t n, std::int64_t* keys, std::int64_t* scratch,
                std::uint32_t* order) noexcept {
  const auto index_bits = static_cast<unsigned>(std::bit_width(n));
  pack_keys(values, n, keys, index_bits);
  sort_keys(keys, scratch, n);
  const std::int64_t index = sizeof(T) == 4 ? 0xffffffff : (std::int64_t{1} << index_bits) - 1;
  for (std::size_t r = 0; r < n; ++r) order[r] = static_cast<std::uint32_t>(keys[r] & index);
  if constexpr (sizeof(T) == 8) order_runs(values, keys, n, index_bits, order);
}

template void sort_values(float*, std::size_t, std::int32_t*, std::int32_t*) noexcept;
template void sort_values(double*, std::size_t, std::int64_t*, std::int64_t*) noexcept;
template void sort_order(const float*, std::size_t, std::int64_t*, std::int64_t*, std::uint32_t*) noexcept;
template void sort_order(const double*, std::size_t, std::int64_t*, std::int64_t*, std::uint32_t*) noexcept;

}  // namespace steppe::kernels
