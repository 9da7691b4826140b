#include "steppe/models/linear_model/multinomial_logistic_fit.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "steppe/models/linear_model/ds_mlr_session.hpp"
#include "steppe/models/linear_model/softmax_session.hpp"

namespace steppe {
namespace {

std::uint32_t shards_of_all_ranks(Link& link, std::uint32_t mine) {
  std::uint64_t total = mine;
  sum_over_ranks(link, std::span(&total, 1));
  return static_cast<std::uint32_t>(total);
}

// Blocks of classes. One shard has one block with all of them; several need some blocks each, so that packets can hold
// ever new company. hogwild shares one block.
template <class T>
ClassBlocks cut_classes(const MultinomialLogisticParams& params, Schedule schedule, std::uint32_t n_shards,
                        std::size_t n_features) {
  const std::uint32_t wanted = n_shards == 1 || schedule == Schedule::hogwild ? 1 : 4 * n_shards;
  const std::uint64_t most_lanes = std::max<std::uint64_t>((std::uint64_t{1} << 31) / (n_features + 2), 1);
  const std::uint64_t least = (params.n_classes + most_lanes - 1) / most_lanes;
  return ClassBlocks::cut<T>(params.n_classes, static_cast<std::uint32_t>(std::max<std::uint64_t>(wanted, least)));
}

template <class T>
kernels::RowsView<T> rows_view(CsrView<T> rows, std::vector<std::int32_t>&) {
  return kernels::RowsView<T>(rows);
}
template <class T>
kernels::RowsView<T> rows_view(MatrixView<const T> rows, std::vector<std::int32_t>& columns) {
  columns.resize(rows.cols());
  std::iota(columns.begin(), columns.end(), 0);
  return {rows, columns};
}

// Every n-th of `width` values at a time, from `first` on.
template <class T>
std::vector<T> every(std::span<const T> values, std::size_t n, std::size_t first, std::size_t width = 1) {
  std::vector<T> taken;
  for (std::size_t at = first * width; at < values.size(); at += n * width) {
    const auto row = values.subspan(at, width);
    taken.insert(taken.end(), row.begin(), row.end());
  }
  return taken;
}

// sum_i omega_i ||x_i||^2 over the rows of all ranks. Rounded to a power of two, so that the order in which ranks are
// added cannot show.
template <class T>
double mean_square(const MultinomialLogisticParams& params, const LabelledRows<T>& rows, Link& link) {
  double square = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (const T value : rows.x.row(i).values) square += double{rows.weights[i]} * double{value} * double{value};
  }
  sum_over_ranks(link, std::span(&square, 1));
  square /= params.total_weight - params.prior_weight;
  return square > 0 ? std::exp2(std::round(std::log2(square))) : 0.0;
}

// How freely the intercepts move: a hundred times what the curvature of an average class asks for. Rows of the past
// cannot answer any more: they hold an intercept by their average curvature.
double intercept_scale(const MultinomialLogisticParams& params) {
  if (params.prior_weight > 0) return params.n_classes * params.total_weight / params.prior_weight;
  return 100.0 * params.n_classes;
}

// Likewise, per feature, the weights: without it a few new rows would move them as if there had been no others.
double curvature_of_past(const MultinomialLogisticParams& params, double square, std::size_t n_features) {
  const double p = 1.0 / params.n_classes;
  return params.prior_weight / params.total_weight * p * (1 - p) * square / static_cast<double>(n_features);
}

template <class T, class Rows>
std::unique_ptr<FitSession> make_ds_mlr(const MultinomialLogisticParams& params,
                                        const MultinomialLogisticData<T, Rows>& data, Link& link) {
  using Problem = MultinomialLogisticProblem<T>;
  const Schedule schedule = parse_schedule(params.schedule, params.n_threads, link.size(), Schedule::bsp);
  std::uint32_t n_shards = workers_for(schedule, params.n_threads);
  if (schedule == Schedule::bsp && params.n_shards > 0) n_shards = params.n_shards;
  const std::uint32_t all_shards = shards_of_all_ranks(link, n_shards);
  const ClassBlocks classes = cut_classes<T>(params, schedule, all_shards, data.rows.cols());
  std::vector<std::int32_t> columns;
  const LabelledRows<T> rows{rows_view(data.rows, columns), data.labels, data.weights};
  const double square = mean_square(params, rows, link);
  const Problem problem({.alpha = params.alpha,
                         .past = curvature_of_past(params, square, data.rows.cols()),
                         .damping = params.damping,
                         .fit_intercept = params.fit_intercept,
                         .intercept_scale = intercept_scale(params),
                         .intercept_moves = params.prior_weight == 0,
                         .n_features = static_cast<std::uint32_t>(data.rows.cols())},
                        classes, {data.start_weights, data.start_intercept, !data.start_dual.empty()});
  // nomad: as many packets as shards, for the more classes a packet holds, the further a visit gets.
  const std::uint32_t packet_tokens = std::max(1u, classes.count() / all_shards);
  // Rows are dealt out like cards: those that lie together are often alike, and shards of unlike rows agree slowly.
  std::vector<MultinomialShard<T>> shards;
  for (std::uint32_t s = 0; s < n_shards; ++s) {
    const auto labels = every(rows.labels, n_shards, s);
    const auto weights = every(rows.weights, n_shards, s);
    const auto dual = every(data.start_dual, n_shards, s, params.n_classes);
    shards.push_back(problem.make_shard({rows.x.every(n_shards, s), labels, weights}, params.total_weight, dual));
  }
  shards.front().collects = true;
  return std::make_unique<DsMlrSession<T>>(
      problem, std::move(shards), std::move(columns), link,
      DsMlrOptions{.engine = {.schedule = schedule, .seed = params.seed, .packet_tokens = packet_tokens},
                   .n_threads = workers_for(schedule, params.n_threads),
                   .n_sweeps = params.n_sweeps,
                   .keep_dual = params.keep_dual,
                   .hand_over_bytes = params.hand_over_bytes});
}

void check(const MultinomialLogisticParams& params) {
  require(params.alpha >= 0, "alpha: give a penalty of 0 or more");
  require(params.n_classes >= 2, "n_classes: a classifier needs 2 or more classes");
  require(params.total_weight > 0, "sample_weight: all weights are zero; give at least one row a positive weight");
  if (params.solver == "softmax") return;
  require(params.solver == "ds_mlr", "solver: choose 'ds_mlr' or 'softmax'");
  require(params.alpha > 0, "alpha: solver='ds_mlr' needs a positive penalty; use solver='softmax' for alpha=0");
  require(params.n_sweeps > 0, "n_sweeps: give a positive number");
  require(params.damping > 0 && params.damping <= 1, "learning_rate: give a part of the step in (0, 1], or None");
}

template <class T, class Rows>
std::unique_ptr<FitSession> make_session(const MultinomialLogisticParams& params,
                                         const MultinomialLogisticData<T, Rows>& data, Link& link) {
  check(params);
  if (params.solver == "ds_mlr") return make_ds_mlr(params, data, link);
  std::vector<std::int32_t> columns;
  const LabelledRows<T> rows{rows_view(data.rows, columns), data.labels, data.weights};
  return make_softmax_session(params, rows, std::move(columns), data.start_weights, data.start_intercept, link);
}

}  // namespace

std::unique_ptr<FitSession> make_multinomial_logistic_session(
    const MultinomialLogisticParams& params, const MultinomialLogisticData<float, CsrView<float>>& data, Link& link) {
  return make_session(params, data, link);
}
std::unique_ptr<FitSession> make_multinomial_logistic_session(
    const MultinomialLogisticParams& params, const MultinomialLogisticData<double, CsrView<double>>& data, Link& link) {
  return make_session(params, data, link);
}
std::unique_ptr<FitSession> make_multinomial_logistic_session(
    const MultinomialLogisticParams& params, const MultinomialLogisticData<float, MatrixView<const float>>& data,
    Link& link) {
  return make_session(params, data, link);
}
std::unique_ptr<FitSession> make_multinomial_logistic_session(
    const MultinomialLogisticParams& params, const MultinomialLogisticData<double, MatrixView<const double>>& data,
    Link& link) {
  return make_session(params, data, link);
}

}  // namespace steppe
