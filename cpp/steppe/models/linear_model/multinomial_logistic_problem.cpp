#include "steppe/models/linear_model/multinomial_logistic_problem.hpp"

namespace steppe {
namespace {

constexpr std::size_t kWorkBetweenAsking = std::size_t{1} << 24;  // multiply-adds: some milliseconds

}  // namespace

template <class T>
MultinomialShard<T> MultinomialLogisticProblem<T>::make_shard(LabelledRows<T> rows, double total_weight,
                                                              std::span<const T> dual) const {
  const double of_intercept = settings_.fit_intercept ? settings_.intercept_scale : 0;
  const std::size_t n = rows.size();
  Shard shard;
  shard.x = rows.x;
  shard.labels.assign(rows.labels.begin(), rows.labels.end());
  std::size_t n_values = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double norm = 0;
    n_values += rows.x.row(i).size();
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
  shard.row_size = std::max<std::size_t>(1, n_values / std::max<std::size_t>(1, n));
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
  if (context.pass == kTrain) return train<Exclusive>(shard, bundle, context);
  VisitStats stats;
  for (std::size_t i = 0; i < bundle.size(); ++i) {
    const std::size_t n_classes = classes_.size(bundle.id(i));
    if (context.pass == kCollect) {
      collect(bundle[i]);
    } else if (!over_rows(shard, n_classes, context, [&](std::size_t first, std::size_t last) {
                 context.pass == kInit ? initialise(shard, bundle[i], first, last)
                                       : fold(shard, bundle[i], first, last);
               })) {
      break;
    }
    stats.updates += shard.x.rows() * n_classes;
  }
  return stats;
}

// body(first, last) for all rows, in parts that take some milliseconds; false if asked to halt in between.
template <class T>
template <class Body>
bool MultinomialLogisticProblem<T>::over_rows(const Shard& shard, std::size_t n_classes, const VisitContext& context,
                                              Body&& body) const {
  const std::size_t n = shard.x.rows(), work_of_row = std::max<std::size_t>(1, n_classes * shard.row_size);
  const std::size_t part = std::max<std::size_t>(1, kWorkBetweenAsking / work_of_row);
  for (std::size_t first = 0; first < n; first += part) {
    const std::size_t last = std::min(n, first + part);
    body(first, last);
    if (context.halted((last - first) * n_classes)) return false;
  }
  return true;
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

// May end between two rows, where the weights and the dual variables agree.
template <class T>
template <class Access>
VisitStats MultinomialLogisticProblem<T>::train(Shard& shard, Bundle<T> bundle, const VisitContext& context) const {
  shuffle_rows(shard, context);
  const auto classes = dual_blocks(shard, bundle);
  for (const auto& block : classes.blocks) move_intercept<Access>(block, context);
  const std::size_t n_classes = classes.n_classes();
  const auto rows = dual_rows(shard, 0, shard.x.rows());
  VisitStats stats;
  over_rows(shard, n_classes, context, [&](std::size_t first, std::size_t last) {
    auto part = rows;
    part.order = rows.order.subspan(first, last - first);
    if constexpr (std::is_same_v<Access, Exclusive>) {
      stats.updates += n_classes * kernels::sweep_softmax_dual(part, classes, dual_settings(), shard.scratch);
    } else {
      stats.updates += n_classes * kernels::sweep_softmax_dual_shared(part, classes, dual_settings(), shard.scratch);
    }
  });
  return stats;
}

template <class T>
VisitStats MultinomialLogisticProblem<T>::visit_shared(Shard& shard, Bundle<T> bundle, const VisitContext& context) {
  return train<Shared>(shard, bundle, context);
}

template <class T>
void MultinomialLogisticProblem<T>::fold(Shard& shard, TokenView<T> token, std::size_t first, std::size_t last) const {
  const auto part = [&](auto& values) { return std::span(values).subspan(first, last - first); };
  kernels::fold_scores(shard.x.rows_between(first, last), part(shard.labels), score_block({token.id, token.row}),
                       part(shard.sums), part(shard.own_score), std::span<T>(shard.scratch).first(classes_.lanes));
}

template <class T>
void MultinomialLogisticProblem<T>::initialise(Shard& shard, TokenView<T> token, std::size_t first,
                                               std::size_t last) const {
  kernels::add_dual_weights(dual_rows(shard, first, last), std::span(shard.labels).subspan(first, last - first),
                            static_cast<std::int32_t>(classes_.first_class(token.id)), dual_block(token),
                            classes_.lanes, dual_settings(), shard.scratch);
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
  const T* weights = token.row.data();
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t e = 0; e < weights_size(); ++e) sum += double{weights[e]} * double{weights[e]};
  return settings_.alpha / 2 * sum;
}

template class MultinomialLogisticProblem<float>;
template class MultinomialLogisticProblem<double>;

}  // namespace steppe
