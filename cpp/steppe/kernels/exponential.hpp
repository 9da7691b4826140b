#pragma once

#include <bit>
#include <cstdint>

namespace steppe::kernels {

// e^x by range reduction to |r| <= ln 2 / 2 and a polynomial, without calls or branches, so that a loop over it is
// vectorised. 0 below kExpFloor and inf-free: arguments are clamped from above, too. Relative error 2 ulp (float), 4
// ulp (double).

inline constexpr float kExpFloor = -87.0f;  // e^-87 is the last normal float
inline constexpr float kExpCeiling = 88.0f;

[[gnu::always_inline]] inline float exponential(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer that sits in the low bits
  const float clamped = x < kExpFloor ? kExpFloor : (x > kExpCeiling ? kExpCeiling : x);
  const float shifted = clamped * 1.44269504f + kMagic;
  const float n = shifted - kMagic;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first with few bits
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const auto bits = (std::bit_cast<std::uint32_t>(shifted) + 127u) << 23;  // the magic's own bits are shifted out
  const float value = p * std::bit_cast<float>(bits);
  return x < kExpFloor ? 0.0f : value;
}

[[gnu::always_inline]] inline double exponential(double x) {
  constexpr double kFloor = -700.0, kCeiling = 700.0;
  constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  const double clamped = x < kFloor ? kFloor : (x > kCeiling ? kCeiling : x);
  const double shifted = clamped * 1.4426950408889634 + kMagic;
  const double n = shifted - kMagic;
  const double r = (clamped - n * 0.693145751953125) - n * 1.42860682030941723212e-6;
  // Taylor to r^12: the first term left out is below 2e-16 for |r| <= 0.3466.
  double p = 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r * r + r + 1.0;
  const auto bits = (std::bit_cast<std::uint64_t>(shifted) + 1023u) << 52;
  const double value = p * std::bit_cast<double>(bits);
  return x < kFloor ? 0.0 : value;
}

}  // namespace steppe::kernels
