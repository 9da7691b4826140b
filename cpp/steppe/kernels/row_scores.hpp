#pragma once

#include <span>

#include "steppe/core/views.hpp"

namespace steppe::kernels {

// scores[k] = intercept[k] + sum_j x_j weights[j][k]. Weights lie feature-major with the scores' length as stride, at
// any alignment: the form in which a fitted model is kept.
void row_scores(SparseRow<float> x, std::span<const float> weights, std::span<const float> intercept,
                std::span<float> scores);
void row_scores(SparseRow<double> x, std::span<const double> weights, std::span<const double> intercept,
                std::span<double> scores);

// weights[j][k] += x_j step[k], of weights in the same form, or of some of their columns.
void add_row_outer(SparseRow<float> x, std::span<const float> step, MatrixView<float> weights);
void add_row_outer(SparseRow<double> x, std::span<const double> step, MatrixView<double> weights);

}  // namespace steppe::kernels
