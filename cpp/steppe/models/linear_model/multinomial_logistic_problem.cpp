#include "steppe/models/linear_model/multinomial_logistic_problem.hpp"

namespace steppe {

template <class T>
MultinomialShard<T> MultinomialLogisticProblem<T>::make_shard(LabelledRows<T> rows, double total_weight,
                                                              std::span<const T> dual,
                                                              std::span<const T> log_normaliser) const {
  const double of_intercept = settings_.fit_intercept ? settings_.intercept_scale : 0;
  const std::size_t n = rows.size();
  Shard shard;
  shard.rows = rows;
  for (std::size_t i = 0; i < n; ++i) {
    double norm = 0;
    for (const T value : rows.x.row(i).values) norm += double{value} * double{value};
    const double omega = double{rows.weights[i]} / total_weight;
    shard.weight.push_back(static_cast<T>(omega));
    shard.curvature.push_back(static_cast<T>(omega * (norm / (settings_.alpha + settings_.past) + of_intercept)));
  }
  set_duals(shard, dual, log_normaliser);
  shard.scratch.assign(kernels::kDualScratch * classes_.lanes, T{0});
  shard.order.resize(n);
  shard.order_round = std::numeric_limits<std::uint32_t>::max();
  shard.sums.resize(n);
  shard.own_score.resize(n);
  return shard;
}

// A fresh start is q = e_y, of which W = 0 is the sum.
template <class T>
void MultinomialLogisticProblem<T>::set_duals(Shard& shard, std::span<const T> dual,
                                              std::span<const T> log_normaliser) const {
  const std::size_t n = shard.rows.size(), lanes = classes_.lanes;
  shard.log_normaliser.assign(log_normaliser.begin(), log_normaliser.end());
  shard.log_normaliser.resize(n, static_cast<T>(std::log(double(classes_.n_classes))));
  shard.dual.assign(n_tokens() * n * lanes, T{0});
  for (std::uint32_t token = 0; token < n_tokens(); ++token) {
    const std::size_t first = classes_.first_class(token), size = classes_.size(token);
    for (std::size_t i = 0; i < n; ++i) {
      T* q = shard.dual.data() + (token * n + i) * lanes;
      double share = double(size) / classes_.n_classes;
      if (!dual.empty()) {
        std::copy_n(dual.data() + i * classes_.n_classes + first, size, q);
        share = std::max(std::accumulate(q, q + size, 0.0), 1e-30);
      } else if (const auto y = static_cast<std::size_t>(shard.rows.labels[i]); y >= first && y < first + size) {
        q[y - first] = 1;
      }
      shard.log_share.push_back(shard.log_normaliser[i] + static_cast<T>(std::log(share)));
    }
  }
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
kernels::DualBlock<T> MultinomialLogisticProblem<T>::dual_block(Shard& shard, TokenView<T> token) const {
  const std::size_t n = shard.rows.size();
  T* intercept = settings_.fit_intercept ? token.row.data() + weights_size() : nullptr;
  return {.weights = token.row.data(),
          .intercept = intercept,
          .dual_sum = intercept ? intercept + classes_.lanes : nullptr,
          .dual = shard.dual.data() + token.id * n * classes_.lanes,
          .log_share = shard.log_share.data() + token.id * n,
          .lanes = classes_.lanes,
          .n_classes = classes_.size(token.id),
          .all_classes = n_tokens() == 1};
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
VisitStats MultinomialLogisticProblem<T>::visit(Shard& shard, TokenView<T> token, const VisitContext& context) {
  switch (context.pass) {
    case kTrain:
      return train(shard, token, context);
    case kEvaluate:
      fold(shard, token);
      break;
    case kInit:
      initialise(shard, token);
      break;
    default:
      collect(token);
  }
  return {shard.rows.size() * classes_.size(token.id), 0};
}

// A new order each round: with one order for all rounds dual ascent is several times slower, and the blocks of a row
// may drive each other away from the optimum.
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
VisitStats MultinomialLogisticProblem<T>::train(Shard& shard, TokenView<T> token, const VisitContext& context) const {
  shuffle_rows(shard, context);
  const auto block = dual_block(shard, token);
  move_intercept<Exclusive>(block, context);
  kernels::sweep_softmax_dual(dual_rows(shard), block, dual_settings(), shard.scratch);
  return {shard.rows.size() * block.n_classes, 0};
}

template <class T>
VisitStats MultinomialLogisticProblem<T>::visit_shared(Shard& shard, Bundle<T> bundle, const VisitContext& context) {
  shuffle_rows(shard, context);
  VisitStats stats;
  for (std::size_t i = 0; i < bundle.size(); ++i) {
    const auto block = dual_block(shard, bundle[i]);
    move_intercept<Shared>(block, context);
    kernels::sweep_softmax_dual_shared(dual_rows(shard), block, dual_settings(), shard.scratch);
    stats.updates += shard.rows.size() * block.n_classes;
  }
  return stats;
}

template <class T>
void MultinomialLogisticProblem<T>::fold(Shard& shard, TokenView<T> token) const {
  kernels::fold_scores(shard.rows.x, shard.rows.labels, score_block({token.id, token.row}), shard.sums, shard.own_score,
                       std::span<T>(shard.scratch).first(classes_.lanes));
}

template <class T>
void MultinomialLogisticProblem<T>::initialise(Shard& shard, TokenView<T> token) const {
  if (start_.from_dual) {
    kernels::add_dual_weights(dual_rows(shard), shard.rows.labels,
                              static_cast<std::int32_t>(classes_.first_class(token.id)), dual_block(shard, token),
                              dual_settings(), shard.scratch);
    return;
  }
  fold(shard, token);
  T* share = shard.log_share.data() + token.id * shard.rows.size();
  for (std::size_t i = 0; i < shard.rows.size(); ++i) {
    share[i] = shard.sums[i].value();
    shard.sums[i] = {};
  }
}

template <class T>
void MultinomialLogisticProblem<T>::collect(TokenView<T> token) const {
  const std::size_t first = classes_.first_class(token.id), size = classes_.size(token.id), k = classes_.n_classes;
  for (std::size_t j = 0; j < settings_.n_features; ++j) {
    std::copy_n(token.row.data() + j * classes_.lanes, size, collected_weights_.data() + j * k + first);
  }
  if (settings_.fit_intercept) {
    std::copy_n(token.row.data() + weights_size(), size, collected_intercept_.data() + first);
  }
}

template <class T>
void MultinomialLogisticProblem<T>::end_round(Shard& shard, const VisitContext& context) {
  const std::size_t n = shard.rows.size();
  if (context.pass == kEvaluate) {
    shard.loss = 0;
    for (std::size_t i = 0; i < n; ++i) {
      shard.loss += double{shard.weight[i]} * (double{shard.sums[i].value()} - double{shard.own_score[i]});
      shard.sums[i] = {};
    }
    return;
  }
  if (context.pass == kCollect || n_tokens() == 1) return;
  for (std::size_t i = 0; i < n; ++i) {
    kernels::LogSum<T> sum;
    for (std::size_t token = 0; token < n_tokens(); ++token) sum.merge(shard.log_share[token * n + i], T{1});
    shard.log_normaliser[i] = sum.value();
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
