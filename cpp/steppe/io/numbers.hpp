#pragma once

#include <array>
#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <limits>
#include <system_error>

namespace steppe::io {

// Readers of numbers in text that ends in eight bytes or more that no number contains (line ends), so they
// need no bound. They return the first byte they did not use, or nullptr where no number starts.

inline bool is_digit(char c) noexcept { return static_cast<unsigned char>(c - '0') <= 9; }

namespace detail {

inline constexpr std::array<std::uint64_t, 9> kWholePowersOfTen = {1,      10,      100,      1000,     10000,
                                                                   100000, 1000000, 10000000, 100000000};

// Appends the digits at p, at most eight, to `value` and returns how many. No branch depends on their number,
// which in real files is as good as random. Reads eight bytes.
inline std::size_t append_digits(const char* p, std::uint64_t& value) noexcept {
  static_assert(std::endian::native == std::endian::little);
  constexpr std::uint64_t kZeros = 0x3030303030303030, kAbove9 = 0x7676767676767676, kHigh = 0x8080808080808080;
  std::uint64_t lanes;
  std::memcpy(&lanes, p, 8);
  lanes ^= kZeros;
  const std::uint64_t others = ((lanes + kAbove9) | lanes) & kHigh;  // right up to the first byte that is no digit
  const auto count = static_cast<std::size_t>(std::countr_zero(others)) / 8;
  lanes = count == 0 ? 0 : lanes << (64 - 8 * count);  // leading zeros in place of what follows
  // Neighbours are added by multiplication: lanes of 1, 2, 4, then 8 digits.
  lanes = lanes * 10 + (lanes >> 8);
  lanes =
      ((lanes & 0x000000FF000000FF) * 0x000F424000000064 + ((lanes >> 16) & 0x000000FF000000FF) * 0x0000271000000001) >>
      32;
  value = value * kWholePowersOfTen[count] + lanes;
  return count;
}

// For few digits, mostly as many as last time: a predicted loop is shorter than the arithmetic above.
inline const char* read_few_digits(const char* p, std::uint64_t& value) noexcept {
  while (is_digit(*p)) value = value * 10 + static_cast<std::uint64_t>(*p++ - '0');
  return p;
}

inline const char* read_digits(const char* p, std::uint64_t& value) noexcept {
  for (;;) {
    const std::size_t count = append_digits(p, value);
    p += count;
    if (count < 8) return p;
  }
}

inline constexpr std::array<double, 23> kPowersOfTen = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                        1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                        1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

// What the short way cannot decide; also nan and infinity. Defined in numbers.cpp.
const char* parse_real_exactly(const char* begin, double& value) noexcept;

}  // namespace detail

// A non-negative integer below 2^63.
inline const char* parse_natural(const char* p, std::uint64_t& value) noexcept {
  if (!is_digit(*p)) return nullptr;
  value = 0;
  const char* end = detail::read_digits(p, value);
  if (end - p > 18) {  // may have wrapped round
    const auto [stop, error] = std::from_chars(p, end, value);
    if (error != std::errc() || value > std::uint64_t{std::numeric_limits<std::int64_t>::max()}) return nullptr;
  }
  return end;
}

// An integer of 64 bits, with or without a sign.
inline const char* parse_integer(const char* p, std::int64_t& value) noexcept {
  const bool negative = *p == '-';
  if (negative || *p == '+') ++p;
  std::uint64_t magnitude;
  const char* end = parse_natural(p, magnitude);
  if (end == nullptr) return nullptr;
  value = negative ? -static_cast<std::int64_t>(magnitude) : static_cast<std::int64_t>(magnitude);
  return end;
}

// A decimal number, rounded correctly. Up to 2^53 the digits are exact in a double, powers of ten up to 22 as
// well, and one multiplication or division of two exact numbers rounds once (Clinger 1990): that decides
// nearly all numbers. A number beyond the range becomes infinite, one below it zero, as in Python.
inline const char* parse_real(const char* begin, double& value) noexcept {
  const char* p = begin;
  const bool negative = *p == '-';
  if (negative || *p == '+') ++p;
  const char* const first = p;
  std::uint64_t digits = 0;
  p = detail::read_few_digits(p, digits);
  auto n_digits = p - first;
  std::int64_t exponent = 0;
  if (*p == '.') {
    const char* const fraction = ++p;
    p = detail::read_digits(p, digits);
    n_digits += p - fraction;
    exponent = fraction - p;
  }
  if (n_digits == 0 || n_digits > 19) return detail::parse_real_exactly(begin, value);
  if ((*p | 0x20) == 'e') {
    std::int64_t scale;
    const char* end = parse_integer(p + 1, scale);
    if (end == nullptr || scale < -400 || scale > 400) return detail::parse_real_exactly(begin, value);
    exponent += scale;
    p = end;
  }
  constexpr std::uint64_t kExact = std::uint64_t{1} << 53;
  if (digits > kExact || exponent < -22 || exponent > 22) return detail::parse_real_exactly(begin, value);
  const double magnitude = exponent < 0
                               ? static_cast<double>(digits) / detail::kPowersOfTen[static_cast<std::size_t>(-exponent)]
                               : static_cast<double>(digits) * detail::kPowersOfTen[static_cast<std::size_t>(exponent)];
  value = negative ? -magnitude : magnitude;
  return p;
}

}  // namespace steppe::io
