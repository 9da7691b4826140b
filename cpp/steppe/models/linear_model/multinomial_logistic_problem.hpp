#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/kernels/softmax_dual.hpp"
#include "steppe/kernels/softmax_fold.hpp"
#include "steppe/models/linear_model/labelled_rows.hpp"
#include "steppe/schedules/concepts.hpp"

namespace steppe {

// Multinomial logistic regression, doubly separable (Raman et al., "Scaling multinomial logistic regression via hybrid
// parallelism", KDD 2019): rows and classes are both partitioned. A token is a block of classes: for each feature its
// weights, then the intercepts and what moves them. A shard keeps the dual variables of its rows. A visit shares out
// anew, row by row, the mass that the row has on the classes of the packet (kernels/softmax_dual.hpp).
//
// The paper separates the log-normalisers b_i and takes stochastic gradients about their last values. Steps that reach
// far then pull each other to and fro (four shards on scikit-learn's digits diverge), steps that do not need many
// rounds. Mass that is conserved within a packet makes every visit exact ascent of the dual instead, with nothing stale
// in it; for mass to get everywhere, packets hold two blocks or more and are dealt anew for every round. There is no
// step size, and L2 costs nothing on sparse rows, as W is kept as a sum over rows.
//
// The exact normalisers, for the objective
//
//   F(W) = alpha/2 ||W||^2 + sum_i omega_i (log sum_k e^{u_ik} - u_{i,y_i}),   u_ik = w_k.x_i + c_k,   sum_i omega_i =
//   1,
//
// are accumulated on the ring as (max, scaled sum).
template <class T>
struct MultinomialShard {
  kernels::RowsView<T> x;
  std::vector<std::int32_t> labels;
  std::vector<T> weight, curvature;  // omega, kappa
  std::size_t row_size = 1;          // nonzeros of an average row
  AlignedVector<T> dual;             // row x class: q
  bool collects = false;             // the first shard of a rank: copies tokens that pass in a collecting pass

  // Scratch, not state.
  static constexpr std::uint32_t kNoRound = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::uint32_t> order;
  std::uint32_t order_round = kNoRound;  // for which `order` was drawn
  AlignedVector<T> scratch;
  std::vector<kernels::DualBlock<T>> blocks;
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

  static constexpr std::uint32_t min_bundle = 2;
  static constexpr bool redeal = true;
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

  // Labels and weights are copied. `total_weight`: the sum of all weights of all ranks. `dual` (rows x n_classes): of
  // an earlier fit, or empty.
  Shard make_shard(LabelledRows<T> rows, double total_weight, std::span<const T> dual) const;

  bool starts_from_weights() const { return !start_.weights.empty(); }
  // Tokens of another fit with the same shards: weights from their dual variables, and these intercepts.
  void start_from_dual(std::span<const T> intercept) { start_ = {{}, intercept, true}; }

  // Where a collecting pass puts weights (feature-major, n_features x n_classes; may be empty) and intercepts.
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
    if (pass == kInit && !start_.from_dual) return false;
    return shard.x.rows() > 0;
  }
  VisitStats visit(Shard& shard, Bundle<T> bundle, const VisitContext& context);
  VisitStats visit_shared(Shard& shard, Bundle<T> bundle, const VisitContext& context);
  void end_round(Shard& shard, const VisitContext& context);
  double shard_objective(const Shard& shard) const { return shard.loss; }
  double token_objective(TokenView<const T> token) const;

  template <class F>
  static void state(Shard& shard, F&& f) {
    f("dual", std::span(shard.dual));
  }

 private:
  std::size_t weights_size() const { return std::size_t{settings_.n_features} * classes_.lanes; }
  kernels::DualBlock<T> dual_block(TokenView<T> token) const;
  kernels::DualBlocks<T> dual_blocks(Shard& shard, Bundle<T> bundle) const;
  kernels::ScoreBlock<T> score_block(TokenView<const T> token) const;
  kernels::DualRows<T> dual_rows(Shard& shard, std::size_t first, std::size_t last) const {
    const auto part = [&](auto& values) { return std::span(values).subspan(first, last - first); };
    return {shard.x.rows_between(first, last),
            part(shard.weight),
            part(shard.curvature),
            shard.dual.data() + first * classes_.n_classes,
            classes_.n_classes,
            part(shard.order)};
  }
  kernels::DualSettings<T> dual_settings() const {
    return {static_cast<T>(1 / (settings_.alpha + settings_.past)), static_cast<T>(settings_.intercept_scale),
            static_cast<T>(settings_.damping)};
  }
  void shuffle_rows(Shard& shard, const VisitContext& context) const;
  template <class Access>
  void move_intercept(const kernels::DualBlock<T>& block, const VisitContext& context) const;
  template <class Body>
  bool over_rows(const Shard& shard, std::size_t n_classes, const VisitContext& context, Body&& body) const;
  template <class Access>
  VisitStats train(Shard& shard, Bundle<T> bundle, const VisitContext& context) const;
  void fold(Shard& shard, TokenView<T> token, std::size_t first, std::size_t last) const;
  void initialise(Shard& shard, TokenView<T> token, std::size_t first, std::size_t last) const;
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
