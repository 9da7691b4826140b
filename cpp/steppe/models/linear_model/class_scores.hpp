#pragma once

#include <cstdint>
#include <span>

#include "steppe/core/errors.hpp"
#include "steppe/kernels/rows.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// What a fitted linear classifier says of rows: u_ik = w_k.x_i + c_k. Weights lie feature-major, n_features x
// n_classes.
template <class T>
struct LinearClassifier {
  std::span<const T> weights;    // n_features x n_classes
  std::span<const T> intercept;  // n_classes
  std::size_t n_classes() const { return intercept.size(); }
};

// scores: rows x n_classes.
void class_scores(const kernels::RowsView<float>& x, const LinearClassifier<float>& model, std::span<float> scores,
                  Team& team);
void class_scores(const kernels::RowsView<double>& x, const LinearClassifier<double>& model, std::span<double> scores,
                  Team& team);

// The k best classes of each row, best first, lower class first among equals. labels, scores: rows x k. One row's
// scores at a time are all the memory it takes for each thread.
void best_classes(const kernels::RowsView<float>& x, const LinearClassifier<float>& model, std::size_t k,
                  std::span<std::int32_t> labels, std::span<float> scores, Team& team);
void best_classes(const kernels::RowsView<double>& x, const LinearClassifier<double>& model, std::size_t k,
                  std::span<std::int32_t> labels, std::span<double> scores, Team& team);

}  // namespace steppe
