#include "steppe/kernels/softmax_fold.hpp"

#include <algorithm>

#include "steppe/core/macros.hpp"
#include "steppe/kernels/exponential.hpp"

namespace steppe::kernels {
namespace {

template <class T>
[[gnu::always_inline]] inline void row_scores(SparseRow<T> x, const ScoreBlock<T>& block, T* scores) {
  if (block.intercept) {
    std::copy_n(block.intercept, block.lanes, scores);
  } else {
    std::fill_n(scores, block.lanes, T{0});
  }
  add_scores<Exclusive>(x, block.weights, block.lanes, scores);
}

template <class T>
[[gnu::always_inline]] inline T largest(const T* values, std::size_t n) {
  T top = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : top)
  for (std::size_t c = 0; c < n; ++c) top = values[c] > top ? values[c] : top;
  return top;
}

// Replaces the values by e^{value - top} and returns their sum.
template <class T>
[[gnu::always_inline]] inline T exponentials(T* values, std::size_t n, T top) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t c = 0; c < n; ++c) {
    values[c] = exponential(values[c] - top);
    sum += values[c];
  }
  return sum;
}

template <class T>
[[gnu::always_inline]] inline void fold(const RowsView<T>& x, std::span<const std::int32_t> labels,
                                        const ScoreBlock<T>& block, std::span<LogSum<T>> sums, std::span<T> own,
                                        std::span<T> scratch) {
  T* scores = scratch.data();
  for (std::size_t i = 0; i < x.rows(); ++i) {
    row_scores(x.row(i), block, scores);
    const std::int64_t lane = std::int64_t{labels[i]} - block.first_class;
    if (lane >= 0 && lane < static_cast<std::int64_t>(block.n_classes)) own[i] = scores[lane];
    const T top = largest(scores, block.n_classes);
    sums[i].merge(top, exponentials(scores, block.n_classes, top));
  }
}

template <class T>
[[gnu::always_inline]] inline double residuals(const RowsView<T>& x, std::span<const std::int32_t> labels,
                                               std::span<const T> weight, const ScoreBlock<T>& block, T* residual) {
  double loss = 0;
  for (std::size_t i = 0; i < x.rows(); ++i, residual += block.lanes) {
    row_scores(x.row(i), block, residual);
    const T own = residual[labels[i]];
    const T top = largest(residual, block.n_classes);
    const T sum = exponentials(residual, block.n_classes, top);
    loss += double{weight[i]} * (double{top} + std::log(double{sum}) - double{own});
    const T scale = weight[i] / sum;
#pragma omp simd
    for (std::size_t c = 0; c < block.n_classes; ++c) residual[c] *= scale;
    residual[labels[i]] -= weight[i];
  }
  return loss;
}

template <class T>
[[gnu::always_inline]] inline void gradient_of(const RowsView<T>& columns, std::size_t first, std::size_t last,
                                               const T* residual, std::size_t lanes, T* gradient) {
  for (std::size_t j = first; j < last; ++j) {
    add_scores<Exclusive>(columns.row(j), residual, lanes, gradient + j * lanes);
  }
}

}  // namespace

STEPPE_MULTIVERSION void fold_scores(const RowsView<float>& x, std::span<const std::int32_t> labels,
                                     const ScoreBlock<float>& block, std::span<LogSum<float>> sums,
                                     std::span<float> own, std::span<float> scratch) {
  fold(x, labels, block, sums, own, scratch);
}
STEPPE_MULTIVERSION void fold_scores(const RowsView<double>& x, std::span<const std::int32_t> labels,
                                     const ScoreBlock<double>& block, std::span<LogSum<double>> sums,
                                     std::span<double> own, std::span<double> scratch) {
  fold(x, labels, block, sums, own, scratch);
}

STEPPE_MULTIVERSION double softmax_residual(const RowsView<float>& x, std::span<const std::int32_t> labels,
                                            std::span<const float> weight, const ScoreBlock<float>& block,
                                            float* residual) {
  return residuals(x, labels, weight, block, residual);
}
STEPPE_MULTIVERSION double softmax_residual(const RowsView<double>& x, std::span<const std::int32_t> labels,
                                            std::span<const double> weight, const ScoreBlock<double>& block,
                                            double* residual) {
  return residuals(x, labels, weight, block, residual);
}

STEPPE_MULTIVERSION void add_gradient(const RowsView<float>& columns, std::size_t first, std::size_t last,
                                      const float* residual, std::size_t lanes, float* gradient) {
  gradient_of(columns, first, last, residual, lanes, gradient);
}
STEPPE_MULTIVERSION void add_gradient(const RowsView<double>& columns, std::size_t first, std::size_t last,
                                      const double* residual, std::size_t lanes, double* gradient) {
  gradient_of(columns, first, last, residual, lanes, gradient);
}

}  // namespace steppe::kernels
