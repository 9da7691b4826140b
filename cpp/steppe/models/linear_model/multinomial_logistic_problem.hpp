#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/kernels/softmax_dual.hpp"
#include "steppe/kernels/softmax_fold.hpp"
#include "steppe/models/linear_model/labelled_rows.hpp"
#include "steppe/schedules/concepts.hpp"

namespace steppe {

// Multinomial logistic regression, doubly separable (Raman et al., "Scaling multinomial logistic regression via hybrid
// parallelism", KDD 2019): rows and classes are both partitioned. The log-normalisers b_i = -log sum_k e^{u_ik}
// separate
//
//   F(W) = alpha/2 ||W||^2 + sum_i omega_i (log sum_k e^{u_ik} - u_{i,y_i}),   u_ik = w_k.x_i + c_k,   sum_i omega_i =
//   1
//
// into terms of one row and one class. A token is a block of classes: for each feature its weights, then the intercepts
// and what moves them. A shard keeps, for its rows, the dual variables q and each block's share of the normaliser, as
// (max, scaled sum) in the form of a logarithm; end_round() adds the shares up, so b is exact for the scores last seen.
// Steps are those of kernels/softmax_dual.hpp, where the paper takes stochastic gradients: no step size to choose, the
// fixed point is exact, and a few rounds suffice. L2 costs nothing on sparse rows, as W is kept as a sum over rows.
template <class T>
struct MultinomialShard {
  LabelledRows<T> rows;
  std::vector<T> weight, curvature;  // omega, kappa
  std::vector<T> log_normaliser;     // -b
  AlignedVector<T> dual;             // token x row x lanes
  std::vector<T> log_share;          // token x row
  bool collects = false;             // the first shard of a rank: copies tokens that pass in a collecting pass

  // Scratch, not state.
  std::vector<std::uint32_t> order;
  std::uint32_t order_round = 0;
  AlignedVector<T> scratch;
  std::vector<kernels::LogSum<T>> sums;
  std::vector<T> own_score;
  double loss = 0;
};

template <class T>
struct MultinomialStart {
  // Feature-major (n_features x n_classes), or empty: zeros. The penalty is then about these weights.
  std::span<const T> weights;
  std::span<const T> intercept;  // n_classes, or empty: zeros
  // Whether the shards were made with dual variables to rebuild the weights from (the intercept cannot be).
  bool from_dual = false;
};

template <class T>
class MultinomialLogisticProblem : public ProblemDefaults<MultinomialShard<T>, T> {
 public:
  using Shard = MultinomialShard<T>;
  enum Passes : Pass { kTrain, kEvaluate, kInit, kCollect };

  static constexpr std::uint32_t max_skew = 0;
  static constexpr int evaluate_pass = kEvaluate;
  static constexpr int init_pass = kInit;

  struct Settings {
    double alpha = 1e-4;
    double past = 0;  // curvature that the rows behind the start add to the penalty about it
    double damping = 1;
    bool fit_intercept = true;
    double intercept_scale = 1;   // 1 / penalty of the intercept's proximal steps; the same on all ranks
    bool intercept_moves = true;  // whether the point about which these steps are made follows
    std::uint32_t n_features = 0;
  };

  MultinomialLogisticProblem(Settings settings, ClassBlocks classes, MultinomialStart<T> start)
      : settings_(settings), classes_(classes), start_(start) {}

  const ClassBlocks& classes() const { return classes_; }
  const Settings& settings() const { return settings_; }

  // `total_weight`: the sum of all weights of all ranks. `dual` (rows x n_classes) and `log_normaliser` (rows) are
  // those of an earlier fit, or both empty.
  Shard make_shard(LabelledRows<T> rows, double total_weight, std::span<const T> dual,
                   std::span<const T> log_normaliser) const;

  // Where a collecting pass puts weights (feature-major, n_features x n_classes) and intercepts.
  void collect_into(std::span<T> weights, std::span<T> intercept) {
    collected_weights_ = weights;
    collected_intercept_ = intercept;
  }

  std::uint32_t n_tokens() const { return classes_.count(); }
  std::uint32_t row_size() const {
    return (settings_.n_features + (settings_.fit_intercept ? 2u : 0u)) * classes_.lanes;
  }
  void init_token(TokenView<T> token, std::uint64_t) const;
  bool touches(const Shard& shard, std::uint32_t, Pass pass) const {
    if (pass == kCollect) return shard.collects;
    if (pass == kInit && start_.weights.empty() && !start_.from_dual) return false;
    return shard.rows.size() > 0;
  }
  VisitStats visit(Shard& shard, TokenView<T> token, const VisitContext& context);
  VisitStats visit_shared(Shard& shard, Bundle<T> bundle, const VisitContext& context);
  void end_round(Shard& shard, const VisitContext& context);
  double shard_objective(const Shard& shard) const { return shard.loss; }
  double token_objective(TokenView<const T> token) const;

  template <class F>
  static void state(Shard& shard, F&& f) {
    f("log_normaliser", std::span(shard.log_normaliser));
    f("dual", std::span(shard.dual));
    f("log_share", std::span(shard.log_share));
  }

 private:
  void set_duals(Shard& shard, std::span<const T> dual, std::span<const T> log_normaliser) const;
  std::size_t weights_size() const { return std::size_t{settings_.n_features} * classes_.lanes; }
  kernels::DualBlock<T> dual_block(Shard& shard, TokenView<T> token) const;
  kernels::ScoreBlock<T> score_block(TokenView<const T> token) const;
  kernels::DualRows<T> dual_rows(Shard& shard) const {
    return {shard.rows.x, shard.weight, shard.curvature, shard.log_normaliser.data(), shard.order};
  }
  kernels::DualSettings<T> dual_settings() const {
    return {static_cast<T>(1 / (settings_.alpha + settings_.past)), static_cast<T>(settings_.intercept_scale),
            static_cast<T>(settings_.damping)};
  }
  void shuffle_rows(Shard& shard, const VisitContext& context) const;
  template <class Access>
  void move_intercept(const kernels::DualBlock<T>& block, const VisitContext& context) const;
  VisitStats train(Shard& shard, TokenView<T> token, const VisitContext& context) const;
  void fold(Shard& shard, TokenView<T> token) const;
  void initialise(Shard& shard, TokenView<T> token) const;
  void collect(TokenView<T> token) const;

  Settings settings_;
  ClassBlocks classes_;
  MultinomialStart<T> start_;
  std::span<T> collected_weights_, collected_intercept_;
};

extern template class MultinomialLogisticProblem<float>;
extern template class MultinomialLogisticProblem<double>;

static_assert(TokenProblem<MultinomialLogisticProblem<float>> && VisitsShared<MultinomialLogisticProblem<float>>);
static_assert(TokenProblem<MultinomialLogisticProblem<double>> && VisitsShared<MultinomialLogisticProblem<double>>);

}  // namespace steppe
