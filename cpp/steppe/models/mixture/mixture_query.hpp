#pragma once

#include <cstdint>
#include <span>

#include "steppe/core/views.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// Fitted components: score = constant - |F (x - mean)|^2 as in kernels/mixture_scores.hpp.
struct MixtureModel {
  bool full = true;
  std::span<const double> constants;  // (n_components)
  MatrixView<const double> means;     // (n_components, n_features)
  std::span<const double> factors;    // (n_components, n_features), or lower triangles (.., n_features, n_features)
};

// What is wanted of each row; what is empty is left out.
template <class T>
struct MixtureAnswers {
  std::span<T> log_sums;           // log sum_k exp(score_k)
  std::span<std::int32_t> labels;  // the best component
  MatrixView<T> probabilities;     // (n, n_components)
};

// Memory beside the answers does not grow with the number of rows. False if a stop was asked for.
template <class T>
bool ask_mixture(MatrixView<const T> x, const MixtureModel& model, const MixtureAnswers<T>& answers, Team& team,
                 Control& control);

}  // namespace steppe
