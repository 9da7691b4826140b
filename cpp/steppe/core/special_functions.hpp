#pragma once

#include <cmath>

namespace steppe {

// The derivative of log_gamma(x), x > 0: upwards by the recurrence to where the asymptotic series is exact.
inline double digamma(double x) {
  double value = 0;
  while (x < 10) {
    value -= 1 / x;
    x += 1;
  }
  const double y = 1 / (x * x);
  const double series =
      y * (1.0 / 12 - y * (1.0 / 120 - y * (1.0 / 252 - y * (1.0 / 240 - y * (1.0 / 132 - y * (691.0 / 32760))))));
  return value + std::log(x) - 0.5 / x - series;
}

// log Gamma(x), x > 0. That of the C library writes its sign to a global, which is a race.
inline double log_gamma(double x) {
  double shift = 1;
  while (x < 10) {
    shift *= x;
    x += 1;
  }
  const double y = 1 / (x * x);
  const double series =
      (1.0 / 12 - y * (1.0 / 360 - y * (1.0 / 1260 - y * (1.0 / 1680 - y * (1.0 / 1188 - y * (691.0 / 360360)))))) / x;
  return (x - 0.5) * std::log(x) - x + 0.91893853320467274178 + series - std::log(shift);
}

}  // namespace steppe
