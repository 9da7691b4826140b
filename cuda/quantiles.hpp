#pragma once

#include <cstdint>

#include "steppe/core/macros.hpp"

namespace steppe::cuda {

// Rank r of n_x and rank k of n_y hold the quantiles [r / n_x, (r + 1) / n_x) and [k / n_y, (k + 1) / n_y). f(k,
// common) for each k that shares some with r, in units of 1 / (n_x n_y): they sum to n_y.
template <class F>
STEPPE_HD void for_common_quantiles(std::int64_t r, std::int64_t n_x, std::int64_t n_y, F&& f) {
  if (n_x == n_y) return f(r, n_y);
  const std::int64_t first = r * n_y, last = first + n_y;
  for (std::int64_t k = first / n_x; k * n_x < last; ++k) {
    const std::int64_t from = k * n_x > first ? k * n_x : first, to = (k + 1) * n_x < last ? (k + 1) * n_x : last;
    f(k, to - from);
  }
}

// The mean of sorted y over the quantiles of rank r of n_x; y of rank r itself for equal sizes.
template <class T>
STEPPE_HD T quantile_mean(const T* y, std::int64_t n_y, std::int64_t r, std::int64_t n_x) {
  if (n_x == n_y) return y[r];
  double sum = 0;
  for_common_quantiles(r, n_x, n_y, [&](std::int64_t k, std::int64_t common) {
    sum += static_cast<double>(y[k]) * (static_cast<double>(common) / static_cast<double>(n_y));
  });
  return static_cast<T>(sum);
}

}  // namespace steppe::cuda
