#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "steppe/kernels/sort_wide.hpp"

namespace steppe::kernels {
namespace {

constexpr unsigned kDigitBits = 11;
constexpr std::size_t kDigits = std::size_t{1} << kDigitBits;
constexpr std::size_t kFew = 256;  // below, counting digits costs more than comparing

// Signed keys as unsigned ones of the same order.
template <class K>
std::size_t digit(K key, unsigned shift) {
  using U = std::make_unsigned_t<K>;
  constexpr U sign = U{1} << (8 * sizeof(K) - 1);
  return static_cast<std::size_t>((static_cast<U>(key) ^ sign) >> shift) & (kDigits - 1);
}

template <class K>
void sort_by_digits(K* keys, K* scratch, std::size_t n) {
  if (n <= kFew) return std::sort(keys, keys + n);
  K* from = keys;
  K* to = scratch;
  for (unsigned shift = 0; shift < 8 * sizeof(K); shift += kDigitBits) {
    std::array<std::size_t, kDigits> place{};
    for (std::size_t i = 0; i < n; ++i) ++place[digit(from[i], shift)];
    if (place[digit(from[0], shift)] == n) continue;  // all keys have this digit
    std::size_t next = 0;
    for (std::size_t& count : place) next += std::exchange(count, next);
    for (std::size_t i = 0; i < n; ++i) to[place[digit(from[i], shift)]++] = from[i];
    std::swap(from, to);
  }
  if (from != keys) std::copy(from, from + n, keys);
}

}  // namespace

void sort_digits(std::int32_t* keys, std::int32_t* scratch, std::size_t n) noexcept {
  sort_by_digits(keys, scratch, n);
}
void sort_digits(std::int64_t* keys, std::int64_t* scratch, std::size_t n) noexcept {
  sort_by_digits(keys, scratch, n);
}

}  // namespace steppe::kernels
