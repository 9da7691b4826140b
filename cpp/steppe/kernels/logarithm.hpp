#pragma once

#include <bit>
#include <cstdint>

namespace steppe::kernels {

// log x of normal positive x, without calls or branches, so that a loop over it is vectorised. x = m 2^e with m in
// [sqrt(1/2), sqrt(2)), log m = 2 artanh(s), s = (m - 1) / (m + 1). Error 2 ulp of the larger of log x and log 2.

[[gnu::always_inline]] inline float logarithm(float x) {
  const std::int32_t bits = std::bit_cast<std::int32_t>(x) - 0x3f3504f3;  // the bits of sqrt(1/2)
  const std::int32_t e = bits >> 23;
  const float m = std::bit_cast<float>((bits & 0x7fffff) + 0x3f3504f3);
  const float s = (m - 1.0f) / (m + 1.0f), t = s * s;
  const float series = t * (0.666666667f + t * (0.4f + t * (0.285714286f + t * 0.222222222f)));
  return static_cast<float>(e) * 0.693147181f + (s + s + s * series);
}

[[gnu::always_inline]] inline double logarithm(double x) {
  constexpr std::int64_t kRoot = 0x3fe6a09e667f3bcd;
  const std::int64_t bits = std::bit_cast<std::int64_t>(x) - kRoot;
  const auto e = static_cast<double>(static_cast<std::int32_t>(bits >> 52));
  const double m = std::bit_cast<double>((bits & 0xfffffffffffff) + kRoot);
  const double s = (m - 1.0) / (m + 1.0), t = s * s;
  double series = 2.0 / 19.0;
  for (int odd = 17; odd >= 3; odd -= 2) series = series * t + 2.0 / odd;
  return e * 0.69314718055994530942 + (s + s + s * t * series);
}

}  // namespace steppe::kernels
