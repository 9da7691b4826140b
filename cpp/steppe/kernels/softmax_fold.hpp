#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "steppe/kernels/class_block.hpp"

namespace steppe::kernels {

// log sum_k e^{u_k} while the u_k come in pieces, without overflow: the largest so far and the sum relative to it.
template <class T>
struct LogSum {
  T top = -std::numeric_limits<T>::infinity();
  T sum = 0;

  void merge(T other_top, T other_sum) {
    if (other_top <= top) {
      sum += other_sum * std::exp(other_top - top);
    } else {
      sum = other_sum + (sum > 0 ? sum * std::exp(top - other_top) : T{0});
      top = other_top;
    }
  }
  T value() const { return top + std::log(sum); }
};

template <class T>
struct ScoreBlock {
  const T* weights = nullptr;    // features x lanes
  const T* intercept = nullptr;  // lanes; null if there is none
  std::size_t lanes = 0, n_classes = 0;
  std::int32_t first_class = 0;
};

// Folds the scores of a block of classes into each row's log-sum, and sets `own` to the score of the row's own class
// where that is in the block. scratch: lanes numbers, aligned to a cache line.
void fold_scores(const RowsView<float>& x, std::span<const std::int32_t> labels, const ScoreBlock<float>& block,
                 std::span<LogSum<float>> sums, std::span<float> own, std::span<float> scratch);
void fold_scores(const RowsView<double>& x, std::span<const std::int32_t> labels, const ScoreBlock<double>& block,
                 std::span<LogSum<double>> sums, std::span<double> own, std::span<double> scratch);

// The same in one go where the block holds all classes; then replaces each row of `residual` (rows x lanes, aligned) by
// weight_i (softmax(u_i) - e_{y_i}), and returns sum_i weight_i (log sum_k e^{u_ik} - u_{i,y_i}).
double softmax_residual(const RowsView<float>& x, std::span<const std::int32_t> labels, std::span<const float> weight,
                        const ScoreBlock<float>& block, float* residual);
double softmax_residual(const RowsView<double>& x, std::span<const std::int32_t> labels, std::span<const double> weight,
                        const ScoreBlock<double>& block, double* residual);

// gradient[j] += sum_i x_ij residual[i] for the features first..last-1, from the columns of X (as rows of `columns`).
void add_gradient(const RowsView<float>& columns, std::size_t first, std::size_t last, const float* residual,
                  std::size_t lanes, float* gradient);
void add_gradient(const RowsView<double>& columns, std::size_t first, std::size_t last, const double* residual,
                  std::size_t lanes, double* gradient);

}  // namespace steppe::kernels
