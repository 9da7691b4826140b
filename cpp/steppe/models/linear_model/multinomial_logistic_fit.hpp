#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "steppe/comm/link.hpp"
#include "steppe/core/views.hpp"
#include "steppe/models/fit_session.hpp"

namespace steppe {

struct MultinomialLogisticParams {
  double alpha = 1e-4;
  std::string solver = "ds_mlr";  // or "softmax"
  bool fit_intercept = true;
  double damping = 1;  // ds_mlr: the part of each step that is made, in (0, 1]
  std::uint32_t n_classes = 2;
  std::string schedule = "auto";
  std::uint32_t n_threads = 1;
  std::uint32_t n_shards = 0;  // of this rank under bsp; 0: one for each thread
  std::uint32_t n_sweeps = 1;  // ds_mlr: over the rows in each round of the session
  std::uint64_t seed = 0;
  double total_weight = 1;  // of all rows of all ranks, and of those that start_weights were fitted to
  double prior_weight = 0;  // of the latter
  // ds_mlr in one process: from this size of the weights on, result() gives up the tokens instead of copying them.
  std::size_t hand_over_bytes = std::size_t{1} << 28;
  bool keep_dual = false;  // whether result() holds what another fit can start from
};

// This rank's rows and where to begin. Views: the caller keeps the memory alive as long as the session.
template <class T, class Rows>  // Rows: CsrView<T> or MatrixView<const T>
struct MultinomialLogisticData {
  Rows rows;
  std::span<const std::int32_t> labels;
  std::span<const T> weights;
  std::span<const T> start_weights;    // n_features x n_classes, or empty
  std::span<const T> start_intercept;  // n_classes, or empty
  std::span<const T> start_dual;       // ds_mlr, in place of start_weights: rows x n_classes, or empty
};

// A fit of  alpha/2 ||W||^2 + sum_i s_i CE_i / sum_i s_i. result(): "weights" (n_features x n_classes), "intercept"
// (n_classes), and for keep_dual "dual" (rows x n_classes). Collective. The link outlives the session.
std::unique_ptr<FitSession> make_multinomial_logistic_session(
    const MultinomialLogisticParams& params, const MultinomialLogisticData<float, CsrView<float>>& data, Link& link);
std::unique_ptr<FitSession> make_multinomial_logistic_session(
    const MultinomialLogisticParams& params, const MultinomialLogisticData<double, CsrView<double>>& data, Link& link);
std::unique_ptr<FitSession> make_multinomial_logistic_session(
    const MultinomialLogisticParams& params, const MultinomialLogisticData<float, MatrixView<const float>>& data,
    Link& link);
std::unique_ptr<FitSession> make_multinomial_logistic_session(
    const MultinomialLogisticParams& params, const MultinomialLogisticData<double, MatrixView<const double>>& data,
    Link& link);

}  // namespace steppe
