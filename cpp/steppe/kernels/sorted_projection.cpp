#include "steppe/kernels/sorted_projection.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "steppe/core/blas.hpp"
#include "steppe/core/macros.hpp"

namespace steppe::kernels {
namespace {

double power(double difference, double p) {
  if (p == 1) return std::abs(difference);
  if (p == 2) return difference * difference;
  return std::pow(std::abs(difference), p);
}

double root(double mean, double p) {
  if (p == 1) return mean;
  if (p == 2) return std::sqrt(mean);
  return std::pow(mean, 1 / p);
}

// Sums whose terms lost digits to underflow, or which overflowed, are made again at another scale.
bool safe(double sum) { return sum > 1e-250 && sum < 1e250; }

template <class T>
[[gnu::always_inline]] inline double sum_absolute(const T* x, const T* y, std::size_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t r = 0; r < n; ++r) sum += std::abs(static_cast<double>(x[r]) - static_cast<double>(y[r]));
  return sum;
}
template <class T>
[[gnu::always_inline]] inline double sum_squares(const T* x, const T* y, std::size_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t r = 0; r < n; ++r) {
    const double difference = static_cast<double>(x[r]) - static_cast<double>(y[r]);
    sum += difference * difference;
  }
  return sum;
}

// A function of its own for each type: clones cannot be templates.
STEPPE_MULTIVERSION double absolute(const float* x, const float* y, std::size_t n) { return sum_absolute(x, y, n); }
STEPPE_MULTIVERSION double absolute(const double* x, const double* y, std::size_t n) { return sum_absolute(x, y, n); }
STEPPE_MULTIVERSION double squares(const float* x, const float* y, std::size_t n) { return sum_squares(x, y, n); }
STEPPE_MULTIVERSION double squares(const double* x, const double* y, std::size_t n) { return sum_squares(x, y, n); }

template <class T>
double sum_of_powers(std::span<const T> x, std::span<const T> y, double p) {
  if (p == 1) return absolute(x.data(), y.data(), x.size());
  if (p == 2) return squares(x.data(), y.data(), x.size());
  double sum = 0;
  for (std::size_t r = 0; r < x.size(); ++r) sum += power(double{x[r]} - double{y[r]}, p);
  return sum;
}

// visit(i, j, mass): the masses that the coupling of equal quantiles moves, in order.
template <class T, class Visit>
[[gnu::always_inline]] inline void for_each_coupled(const SortedSample<T>& x, const SortedSample<T>& y, Visit&& visit) {
  std::size_t i = 0, j = 0;
  double left_x = x.mass(0), left_y = y.mass(0);
  for (;;) {
    const double moved = std::min(left_x, left_y);
    visit(i, j, moved);
    left_x -= moved;
    left_y -= moved;
    if (left_x <= 0) {
      if (++i == x.values.size()) return;
      left_x = x.mass(i);
    }
    if (left_y <= 0) {
      if (++j == y.values.size()) return;
      left_y = y.mass(j);
    }
  }
}

// `unit` times the difference: with half of it no two finite numbers overflow, with all of it none is rounded.
template <class T>
double difference(T a, T b, double unit) {
  return unit * static_cast<double>(a) - unit * static_cast<double>(b);
}

template <class T>
double largest_difference(const SortedSample<T>& x, const SortedSample<T>& y, double unit) {
  double largest = 0;
  for_each_coupled(x, y, [&](std::size_t i, std::size_t j, double mass) {
    if (mass > 0) largest = std::max(largest, std::abs(difference(x.values[i], y.values[j], unit)));
  });
  return largest;
}

// s (mean of (|difference| / s)^p)^(1/p), where s is the largest difference that meets mass.
template <class T>
double scaled_distance(const SortedSample<T>& x, const SortedSample<T>& y, double p) {
  double unit = 1, total = 0, sum = 0;
  double largest = largest_difference(x, y, unit);
  if (!std::isfinite(largest)) largest = largest_difference(x, y, unit = 0.5);
  if (!(largest > 0) || !std::isfinite(largest)) return largest;
  for_each_coupled(x, y, [&](std::size_t i, std::size_t j, double mass) {
    sum += mass * power(difference(x.values[i], y.values[j], unit) / largest, p);
    total += mass;
  });
  return largest * root(sum / total, p) / unit;
}

}  // namespace

template <class T>
void project(MatrixView<const T> rows, MatrixView<const T> directions, MatrixView<T> projected) {
  gemm(Op::transpose, Op::transpose, T{1}, directions, rows, T{0}, projected);
}

template <class T>
double quantile_distance(const SortedSample<T>& x, const SortedSample<T>& y, double p) {
  if (x.values.size() == y.values.size() && x.weights.empty() && y.weights.empty()) {
    const double sum = sum_of_powers(x.values, y.values, p);
    if (safe(sum)) return root(sum / static_cast<double>(x.values.size()), p);
    return scaled_distance(x, y, p);
  }
  double sum = 0, total = 0;
  for_each_coupled(x, y, [&](std::size_t i, std::size_t j, double mass) {
    sum += mass * power(static_cast<double>(x.values[i]) - static_cast<double>(y.values[j]), p);
    total += mass;
  });
  return safe(sum) ? root(sum / total, p) : scaled_distance(x, y, p);
}

template <class T>
void quantile_means(const SortedSample<T>& x, const SortedSample<T>& y, std::span<T> means) {
  if (x.values.size() == y.values.size()) {
    std::copy(y.values.begin(), y.values.end(), means.begin());
    return;
  }
  std::size_t rank = 0;
  double sum = 0, total = 0;
  const auto close = [&] { means[rank] = static_cast<T>(sum / total); };
  for_each_coupled(x, y, [&](std::size_t i, std::size_t j, double mass) {
    if (i != rank) {
      close();
      rank = i;
      sum = total = 0;
    }
    sum += mass * static_cast<double>(y.values[j]);
    total += mass;
  });
  close();
}

double power_mean(std::span<const double> distances, double p) {
  double largest = 0, sum = 0;
  for (const double d : distances) largest = std::max(largest, d);
  if (largest == 0) return 0;
  for (const double d : distances) sum += power(d / largest, p);
  return largest * root(sum / static_cast<double>(distances.size()), p);
}

template void project(MatrixView<const float>, MatrixView<const float>, MatrixView<float>);
template void project(MatrixView<const double>, MatrixView<const double>, MatrixView<double>);
template double quantile_distance(const SortedSample<float>&, const SortedSample<float>&, double);
template double quantile_distance(const SortedSample<double>&, const SortedSample<double>&, double);
template void quantile_means(const SortedSample<float>&, const SortedSample<float>&, std::span<float>);
template void quantile_means(const SortedSample<double>&, const SortedSample<double>&, std::span<double>);

}  // namespace steppe::kernels
