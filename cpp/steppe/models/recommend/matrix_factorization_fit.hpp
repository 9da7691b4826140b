#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "steppe/comm/link.hpp"
#include "steppe/core/views.hpp"
#include "steppe/models/fit_session.hpp"
#include "steppe/models/recommend/matrix_factorization_problem.hpp"
#include "steppe/schedules/rank_state.hpp"

namespace steppe {

struct MatrixFactorizationParams {
  std::string solver = "sgd";  // or "als"
  std::uint32_t n_factors = 32;
  MatrixFactorizationObjective objective;
  double learning_rate = 0.3;  // sgd
  std::string schedule = "serial";
  std::uint32_t n_threads = 1;
  std::uint64_t seed = 0;
  bool record = false;         // sgd: keep what a replay needs
  std::uint32_t n_shards = 0;  // sgd under bsp: shards of this rank, which fix the result; 0: one a thread
};

// Where a fit starts if not from random numbers: what an earlier fit ended with. The views need only last for the call.
template <class T>
struct MatrixFactorizationStart {
  MatrixView<const T> user_factors;  // this rank's users
  std::span<const T> user_bias;
  MatrixView<const T> item_factors;
  std::span<const T> item_bias;
  double mean = 0, scale = 1;
  std::uint32_t rounds = 0;  // of training before, by which the steps have shrunk
};

// Collective. A fit of this rank's users; the columns of `ratings` are the items, the same on every rank. The link must
// outlive the session, the ratings need not.
//
// state and result: user_factors (users, k) and user_bias of this rank; item_factors (items, k) and item_bias, whole on
// every rank; mean; scale.
template <class T>
std::unique_ptr<FitSession> make_matrix_factorization(const MatrixFactorizationParams& params, CsrView<T> ratings,
                                                      const std::optional<MatrixFactorizationStart<T>>& start,
                                                      Link& link);

// The two solvers behind it.
template <class T>
std::unique_ptr<FitSession> make_sgd_session(const MatrixFactorizationParams& params, CsrView<T> ratings,
                                             const std::optional<MatrixFactorizationStart<T>>& start,
                                             RatingSummary summary, Link& link);
template <class T>
std::unique_ptr<FitSession> make_als_session(const MatrixFactorizationParams& params, CsrView<T> ratings,
                                             const std::optional<MatrixFactorizationStart<T>>& start,
                                             RatingSummary summary, Link& link);

// What is predicted of an unknown pair: the mean of the ratings, or 0 for a factorisation into nonnegative factors
// alone. And how factors start.
double center_of(const MatrixFactorizationObjective& objective, const RatingSummary& summary);
FactorInit init_of(const MatrixFactorizationParams& params, const RatingSummary& summary);

// What both solvers call a result.
template <class T>
ArrayMap factorization_result(Array user_factors, Array user_bias, const FactorTable<T>& items, double mean,
                              double scale);

}  // namespace steppe
