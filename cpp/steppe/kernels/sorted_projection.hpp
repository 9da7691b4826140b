#pragma once

#include <cstddef>
#include <span>

#include "steppe/core/views.hpp"

namespace steppe::kernels {

// projected[j][i] = x_i . (column j of directions): rows (n, D), directions (D, p), projected (p, n). One GEMM.
template <class T>
void project(MatrixView<const T> rows, MatrixView<const T> directions, MatrixView<T> projected);

// A sample on the line, sorted. A point's mass is its weight times `scale`; without weights it is `scale`. Two samples
// that are compared have the same total mass: the scale of each is the total weight of the other.
template <class T>
struct SortedSample {
  std::span<const T> values;
  std::span<const double> weights;
  double scale = 1;

  double mass(std::size_t r) const noexcept { return weights.empty() ? scale : weights[r] * scale; }
};

// The p-Wasserstein distance (not its p-th power), p >= 1, by the coupling of equal quantiles, which is optimal on the
// line. Neither overflows nor underflows where the distance itself does not. O(n + m).
template <class T>
double quantile_distance(const SortedSample<T>& x, const SortedSample<T>& y, double p);

// means[r] = mean of the y coupled with x of rank r; for equal sizes y of rank r itself. Neither sample has weights.
template <class T>
void quantile_means(const SortedSample<T>& x, const SortedSample<T>& y, std::span<T> means);

// (mean of d^p)^(1/p) over distances d >= 0, at their scale.
double power_mean(std::span<const double> distances, double p);

}  // namespace steppe::kernels
