#include "steppe/kernels/row_scores.hpp"

#include <algorithm>

#include "steppe/core/macros.hpp"

namespace steppe::kernels {
namespace {

template <class T>
[[gnu::always_inline]] inline void add_rows(SparseRow<T> x, const T* weights, std::span<const T> intercept, T* scores) {
  const std::size_t n = intercept.size();
  std::copy(intercept.begin(), intercept.end(), scores);
  for (std::size_t e = 0; e < x.size(); ++e) {
    const T value = x.values[e];
    const T* row = weights + static_cast<std::size_t>(x.indices[e]) * n;
#pragma omp simd
    for (std::size_t k = 0; k < n; ++k) scores[k] += value * row[k];
  }
}

template <class T>
[[gnu::always_inline]] inline void add_outer_rows(SparseRow<T> x, std::span<const T> step, MatrixView<T> weights) {
  const std::size_t n = step.size();
  const T* from = step.data();
  for (std::size_t e = 0; e < x.size(); ++e) {
    const T value = x.values[e];
    T* row = weights.data() + static_cast<std::size_t>(x.indices[e]) * weights.stride();
#pragma omp simd
    for (std::size_t k = 0; k < n; ++k) row[k] += value * from[k];
  }
}

}  // namespace

STEPPE_MULTIVERSION void row_scores(SparseRow<float> x, std::span<const float> weights,
                                    std::span<const float> intercept, std::span<float> scores) {
  add_rows(x, weights.data(), intercept, scores.data());
}
STEPPE_MULTIVERSION void row_scores(SparseRow<double> x, std::span<const double> weights,
                                    std::span<const double> intercept, std::span<double> scores) {
  add_rows(x, weights.data(), intercept, scores.data());
}

STEPPE_MULTIVERSION void add_row_outer(SparseRow<float> x, std::span<const float> step, MatrixView<float> weights) {
  add_outer_rows(x, step, weights);
}
STEPPE_MULTIVERSION void add_row_outer(SparseRow<double> x, std::span<const double> step, MatrixView<double> weights) {
  add_outer_rows(x, step, weights);
}

}  // namespace steppe::kernels
