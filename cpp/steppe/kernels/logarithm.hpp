#pragma once

#include <bit>
#include <cstdint>

namespace steppe::kernels {

// log x of a positive normal number, without calls or branches, so that a loop over it is vectorised: x = 2^e (1 + f)
// with 1 + f within a factor of sqrt 2 of one, and log(1 + f) = 2 atanh(f / (2 + f)) by its series. Error below 2 ulp,
// near one below 2 ulp of f. Subnormal numbers and zero give some number below -80 (float), -700 (double).

[[gnu::always_inline]] inline float logarithm(float x) {
  constexpr std::uint32_t kHalfRoot = 0x3f3504f3;  // sqrt(1/2)
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto exponent = static_cast<std::int32_t>((bits - kHalfRoot + (128u << 23)) >> 23) - 128;
  const float f = std::bit_cast<float>(bits - (static_cast<std::uint32_t>(exponent) << 23)) - 1.0f;
  const float s = f / (2.0f + f);
  const float z = s * s;
  float p = 1.0f / 9;
  p = p * z + 1.0f / 7;
  p = p * z + 1.0f / 5;
  p = p * z + 1.0f / 3;
  // 2 s = f - f s, so the largest term is f itself, which is exact.
  const float e = static_cast<float>(exponent);
  return (f - s * (f - 2.0f * z * p)) + e * -2.12194440e-4f + e * 0.693359375f;
}

[[gnu::always_inline]] inline double logarithm(double x) {
  constexpr std::uint64_t kHalfRoot = 0x3fe6a09e667f3bcd;
  constexpr std::uint64_t kBias = 1024;
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const std::uint64_t biased = (bits - kHalfRoot + (kBias << 52)) >> 52;
  const double f = std::bit_cast<double>(bits - ((biased - kBias) << 52)) - 1.0;
  // An integer below 2^52 as a double, without a conversion that older machines have no vector instruction for.
  const double e = std::bit_cast<double>(biased | 0x4330000000000000) - (4503599627370496.0 + double{kBias});
  const double s = f / (2.0 + f);
  const double z = s * s;
  double p = 1.0 / 21;
  p = p * z + 1.0 / 19;
  p = p * z + 1.0 / 17;
  p = p * z + 1.0 / 15;
  p = p * z + 1.0 / 13;
  p = p * z + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  return (f - s * (f - 2.0 * z * p)) + e * 1.42860682030941723212e-6 + e * 0.693145751953125;
}

}  // namespace steppe::kernels
