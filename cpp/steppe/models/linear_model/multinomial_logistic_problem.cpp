#include "steppe/models/linear_model/multinomial_logistic_problem.hpp"

namespace steppe {
namespace {

constexpr std::size_t kUpdatesBetweenAsking = 1 << 18;

}  // namespace

template <class T>
MultinomialShard<T> MultinomialLogisticProblem<T>::make_shard(LabelledRows<T> rows, double total_weight,
                                                              std::span<const T> dual) const {
  const double of_intercept = settings_.fit_intercept ? settings_.intercept_scale : 0;
  const std::size_t n = rows.size();
  Shard shard;
  shard.x = rows.x;
  shard.labels.assign(rows.labels.begin(), rows.labels.end());
  for (std::size_t i = 0; i < n; ++i) {
    double norm = 0;
    for (const T value : rows.x.row(i).values) norm += double{value} * double{value};
    const double omega = double{rows.weights[i]} / total_weight;
    shard.weight.push_back(static_cast<T>(omega));
    shard.curvature.push_back(static_cast<T>(omega * (norm / (settings_.alpha + settings_.past) + of_intercept)));
  }
  // A fresh start is q = e_y, of which W = 0 is the sum.
  shard.dual.assign(dual.begin(), dual.end());
  shard.dual.resize(n * classes_.n_classes, T{0});
  for (std::size_t i = 0; dual.empty() && i < n; ++i) {
    shard.dual[i * classes_.n_classes + static_cast<std::size_t>(rows.labels[i])] = 1;
  }
  shard.scratch.assign(kernels::dual_scratch(classes_.n_classes, classes_.lanes), T{0});
  shard.order.resize(n);
  shard.sums.resize(n);
  shard.own_score.resize(n);
  return shard;
}

template <class T>
void MultinomialLogisticProblem<T>::init_token(TokenView<T> token, std::uint64_t) const {
  std::fill(token.row.begin(), token.row.end(), T{0});
  const std::size_t first = classes_.first_class(token.id), size = classes_.size(token.id), k = classes_.n_classes;
  for (std::size_t j = 0; !start_.weights.empty() && j < settings_.n_features; ++j) {
    std::copy_n(start_.weights.data() + j * k + first, size, token.row.data() + j * classes_.lanes);
  }
  if (settings_.fit_intercept && !start_.intercept.empty()) {
    std::copy_n(start_.intercept.data() + first, size, token.row.data() + weights_size());
  }
}

template <class T>
kernels::DualBlock<T> MultinomialLogisticProblem<T>::dual_block(TokenView<T> token) const {
  T* intercept = settings_.fit_intercept ? token.row.data() + weights_size() : nullptr;
  return {.weights = token.row.data(),
          .intercept = intercept,
          .dual_sum = intercept ? intercept + classes_.lanes : nullptr,
          .n_classes = classes_.size(token.id),
          .first_dual = classes_.first_class(token.id)};
}

template <class T>
kernels::DualBlocks<T> MultinomialLogisticProblem<T>::dual_blocks(Shard& shard, Bundle<T> bundle) const {
  shard.blocks.clear();
  for (std::size_t i = 0; i < bundle.size(); ++i) shard.blocks.push_back(dual_block(bundle[i]));
  return {shard.blocks, classes_.lanes, bundle.size() == n_tokens()};
}

template <class T>
kernels::ScoreBlock<T> MultinomialLogisticProblem<T>::score_block(TokenView<const T> token) const {
  return {.weights = token.row.data(),
          .intercept = settings_.fit_intercept ? token.row.data() + weights_size() : nullptr,
          .lanes = classes_.lanes,
          .n_classes = classes_.size(token.id),
          .first_class = static_cast<std::int32_t>(classes_.first_class(token.id))};
}

template <class T>
VisitStats MultinomialLogisticProblem<T>::visit(Shard& shard, Bundle<T> bundle, const VisitContext& context) {
  if (context.pass == kTrain) return train(shard, bundle, context);
  VisitStats stats;
  for (std::size_t i = 0; i < bundle.size(); ++i) {
    switch (context.pass) {
      case kEvaluate:
        fold(shard, bundle[i]);
        break;
      case kInit:
        initialise(shard, bundle[i]);
        break;
      default:
        collect(bundle[i]);
    }
    stats.updates += shard.x.rows() * classes_.size(bundle.id(i));
  }
  return stats;
}

// A new order each round: with one order for all rounds dual ascent is several times slower.
template <class T>
void MultinomialLogisticProblem<T>::shuffle_rows(Shard& shard, const VisitContext& context) const {
  if (shard.order_round == context.round) return;
  std::iota(shard.order.begin(), shard.order.end(), 0u);
  Stream stream(context.seed, Purpose::sample, context.shard, context.round);
  shuffle(std::span(shard.order), stream);
  shard.order_round = context.round;
}

// The proximal point of the intercept moves to its present value: once a round, in equal parts over the shards.
template <class T>
template <class Access>
void MultinomialLogisticProblem<T>::move_intercept(const kernels::DualBlock<T>& block,
                                                   const VisitContext& context) const {
  if (!block.intercept || !settings_.intercept_moves) return;
  const T part = static_cast<T>(settings_.intercept_scale / context.n_shards);
  for (std::size_t c = 0; c < block.n_classes; ++c) {
    kernels::add_to<Access>(block.intercept[c], -part * Access::load(block.dual_sum[c]));
  }
}

template <class T>
VisitStats MultinomialLogisticProblem<T>::train(Shard& shard, Bundle<T> bundle, const VisitContext& context) const {
  shuffle_rows(shard, context);
  const auto classes = dual_blocks(shard, bundle);
  for (const auto& block : classes.blocks) move_intercept<Exclusive>(block, context);
  // In parts that take some milliseconds: between rows the weights and the dual variables agree.
  const std::size_t part = std::max<std::size_t>(1, kUpdatesBetweenAsking / classes.n_classes());
  auto rows = dual_rows(shard);
  VisitStats stats;
  for (auto left = rows.order; !left.empty(); left = left.subspan(rows.order.size())) {
    rows.order = left.first(std::min(part, left.size()));
    const std::size_t n = kernels::sweep_softmax_dual(rows, classes, dual_settings(), shard.scratch);
    stats.updates += n * classes.n_classes();
    if (context.halted(n * classes.n_classes())) break;
  }
  return stats;
}

template <class T>
VisitStats MultinomialLogisticProblem<T>::visit_shared(Shard& shard, Bundle<T> bundle, const VisitContext& context) {
  shuffle_rows(shard, context);
  const auto classes = dual_blocks(shard, bundle);
  for (const auto& block : classes.blocks) move_intercept<Shared>(block, context);
  const std::size_t n = kernels::sweep_softmax_dual_shared(dual_rows(shard), classes, dual_settings(), shard.scratch);
  return {n * classes.n_classes(), 0};
}

template <class T>
void MultinomialLogisticProblem<T>::fold(Shard& shard, TokenView<T> token) const {
  kernels::fold_scores(shard.x, shard.labels, score_block({token.id, token.row}), shard.sums, shard.own_score,
                       std::span<T>(shard.scratch).first(classes_.lanes));
}

template <class T>
void MultinomialLogisticProblem<T>::initialise(Shard& shard, TokenView<T> token) const {
  kernels::add_dual_weights(dual_rows(shard), shard.labels, static_cast<std::int32_t>(classes_.first_class(token.id)),
                            dual_block(token), classes_.lanes, dual_settings(), shard.scratch);
}

template <class T>
void MultinomialLogisticProblem<T>::collect(TokenView<T> token) const {
  const std::size_t first = classes_.first_class(token.id), size = classes_.size(token.id), k = classes_.n_classes;
  for (std::size_t j = 0; !collected_weights_.empty() && j < settings_.n_features; ++j) {
    std::copy_n(token.row.data() + j * classes_.lanes, size, collected_weights_.data() + j * k + first);
  }
  if (settings_.fit_intercept) {
    std::copy_n(token.row.data() + weights_size(), size, collected_intercept_.data() + first);
  }
}

template <class T>
void MultinomialLogisticProblem<T>::end_round(Shard& shard, const VisitContext& context) {
  if (context.pass != kEvaluate) return;
  shard.loss = 0;
  for (std::size_t i = 0; i < shard.x.rows(); ++i) {
    shard.loss += double{shard.weight[i]} * (double{shard.sums[i].value()} - double{shard.own_score[i]});
    shard.sums[i] = {};
  }
}

template <class T>
double MultinomialLogisticProblem<T>::token_objective(TokenView<const T> token) const {
  double sum = 0;
  for (const T weight : token.row.first(weights_size())) sum += double{weight} * double{weight};
  return settings_.alpha / 2 * sum;
}

template class MultinomialLogisticProblem<float>;
template class MultinomialLogisticProblem<double>;

}  // namespace steppe
