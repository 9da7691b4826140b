#include "steppe/models/recommend/matrix_factorization_fit.hpp"

#include <algorithm>
#include <cmath>

#include "steppe/core/partition.hpp"
#include "steppe/models/token_session.hpp"

namespace steppe {
namespace {

// Four blocks of four slices, or fewer where an item has too few ratings to be cut up. A fit that does not start from
// nothing has directions that all shards share, and needs no slices.
EpochPlan plan_for(const RatingSummary& summary, bool starts_warm) {
  const double per_item = static_cast<double>(summary.n_ratings) / static_cast<double>(summary.item_counts.size());
  const auto blocks = static_cast<std::uint32_t>(std::clamp(per_item / 16, 1.0, 4.0));
  return {blocks, starts_warm ? 1 : static_cast<std::uint32_t>(std::clamp(per_item / (4 * blocks), 1.0, 4.0))};
}

// A visit should last about a microsecond, or moving tokens costs more than the ratings.
constexpr double kRatingsPerPacket = 100;

std::uint32_t tokens_per_packet(const RatingSummary& summary, std::uint32_t n_shards) {
  const double pairs = static_cast<double>(summary.item_counts.size()) * n_shards;
  const double wanted = std::ceil(kRatingsPerPacket * pairs / static_cast<double>(summary.n_ratings));
  return static_cast<std::uint32_t>(std::clamp(wanted, 1.0, std::max(1.0, pairs / (8.0 * n_shards * n_shards))));
}

template <class T>
class SgdSession final : public TokenSession<MatrixFactorizationProblem<T>> {
  using Problem = MatrixFactorizationProblem<T>;

 public:
  using TokenSession<Problem>::TokenSession;

  // A round of the session is an epoch.
  Progress advance(std::uint32_t rounds, Control& control) override {
    const EpochPlan& plan = this->problem_.plan();
    Progress progress;
    for (std::uint32_t round = 0; round < rounds && !progress.stopped; ++round) {
      const std::uint32_t epoch = rounds_done();
      progress.loss = 0;
      for (std::uint32_t r = 0; r < plan.rounds(epoch) && !progress.stopped; ++r) {
        const auto pass = static_cast<Pass>(plan.first_pass(epoch) + r);
        const RunResult result = this->engine_.run(pass, 1, true, control);
        progress.updates += result.total.updates;
        progress.loss += result.total.loss;
        progress.stopped = result.stopped;
      }
    }
    return progress;
  }

  std::uint32_t rounds_done() const override { return this->problem_.plan().epoch_of(this->engine_.training_rounds()); }

  ArrayMap result() override {
    const Problem& problem = this->problem_;
    const std::size_t stride = problem.row_size() - 1;
    std::vector<T> rows(std::size_t{problem.n_tokens()} * problem.row_size());
    this->engine_.gather(rows);
    FactorTable<T> items(problem.n_tokens(), problem.n_factors());
    for (std::size_t j = 0; j < items.rows; ++j) {
      const auto row = std::span(rows).subspan(j * problem.row_size(), problem.row_size());
      std::ranges::copy(row.first(items.k), items.row(j).begin());
      items.bias[j] = row[stride];
    }
    return factorization_result(user_factors(), user_bias(), items, problem.mean(), problem.scale());
  }

 private:
  Array user_factors() const {
    std::size_t n = 0;
    for (const auto& shard : this->shards_) n += shard.users.rows;
    Array all = Array::zeros<T>({n, this->problem_.n_factors()});
    auto out = all.template as<T>().begin();
    for (const auto& shard : this->shards_) {
      for (std::size_t u = 0; u < shard.users.rows; ++u) out = std::ranges::copy(shard.users.row(u), out).out;
    }
    return all;
  }
  Array user_bias() const {
    std::vector<T> all;
    for (const auto& shard : this->shards_) all.insert(all.end(), shard.users.bias.begin(), shard.users.bias.end());
    return Array::copy_of(std::span<const T>(all));
  }
};

// Cuts this rank's users into blocks of about equal ratings, built in parallel.
template <class T>
std::vector<UserShard<T>> make_shards(const MatrixFactorizationProblem<T>& problem, CsrView<T> ratings,
                                      const std::optional<MatrixFactorizationStart<T>>& start, std::uint32_t n_shards,
                                      std::uint32_t n_threads) {
  const std::vector<std::int64_t> none{0};
  const auto offsets = ratings.rows() == 0 ? std::span<const std::int64_t>(none) : ratings.offsets();
  const auto bounds = balanced_ranges(offsets, n_shards);
  std::vector<UserShard<T>> shards(n_shards);
  Team team(std::min(n_threads, n_shards));
  team.parallel_for(n_shards, 1, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t s = begin; s < end; ++s) {
      const std::size_t first = bounds[s], n = bounds[s + 1] - first;
      const CsrView<T> rows(offsets.subspan(first, n + 1), ratings.indices(), ratings.values(), ratings.cols());
      shards[s] = problem.make_shard(rows, problem.summary().first_user + first);
      if (!start) continue;
      const auto& factors = start->user_factors;
      shards[s].users.assign({factors.data() + first * factors.stride(), n, factors.cols(), factors.stride()},
                             start->user_bias.subspan(first, n));
    }
  });
  return shards;
}

}  // namespace

double center_of(const MatrixFactorizationObjective& objective, const RatingSummary& summary) {
  return objective.nonnegative && !objective.biases ? 0 : summary.mean;
}

FactorInit init_of(const MatrixFactorizationParams& params, const RatingSummary& summary) {
  // Far below the factors' final size, |w|^2 ~ scale: what is learnt first is then the strongest direction, not noise.
  const double k = params.n_factors;
  const double small = 0.09 * std::sqrt(summary.scale / std::sqrt(k));
  // Nonnegative factors without a mean start where their products are about the mean.
  const bool uncentred = center_of(params.objective, summary) == 0 && params.objective.nonnegative;
  const double width = uncentred ? 2 * std::sqrt(std::max(summary.mean, 0.0) / k) : small;
  return {params.seed, std::max(width, small), params.objective.nonnegative};
}

template <class T>
ArrayMap factorization_result(Array user_factors, Array user_bias, const FactorTable<T>& items, double mean,
                              double scale) {
  ArrayMap result;
  result["user_factors"] = std::move(user_factors);
  result["user_bias"] = std::move(user_bias);
  result["item_factors"] = items.dense_factors();
  result["item_bias"] = items.dense_bias();
  result["mean"] = Array::scalar(mean);
  result["scale"] = Array::scalar(scale);
  return result;
}

template <class T>
std::unique_ptr<FitSession> make_sgd_session(const MatrixFactorizationParams& params, CsrView<T> ratings,
                                             const std::optional<MatrixFactorizationStart<T>>& start,
                                             RatingSummary summary, Link& link) {
  const Schedule schedule = parse_schedule(params.schedule, params.n_threads, link.size(), Schedule::bsp);
  require(
      schedule != Schedule::hogwild || link.size() == 1,
      "schedule='hogwild' shares memory between workers, so it cannot span ranks; use 'nomad' or 'bsp' on a cluster");
  const std::uint32_t n_threads = workers_for(schedule, params.n_threads);
  const std::uint32_t n_shards = schedule == Schedule::bsp && params.n_shards > 0 ? params.n_shards : n_threads;
  const EpochPlan plan = plan_for(summary, start.has_value());

  EngineOptions options;
  options.schedule = schedule;
  options.seed = params.seed;
  options.packet_tokens = tokens_per_packet(summary, n_shards * plan.blocks * link.size());
  options.record = params.record;

  const StepSchedule steps{params.learning_rate, start ? start->scale : summary.scale, start ? start->rounds : 0};
  const double mean = start ? start->mean : center_of(params.objective, summary);
  const FactorInit init = init_of(params, summary);
  FactorTable<T> items;
  if (start) {
    items = FactorTable<T>(start->item_factors.rows(), params.n_factors);
    items.assign(start->item_factors, start->item_bias);
  }
  MatrixFactorizationProblem<T> problem(params.objective, steps, std::move(summary), mean, params.n_factors, plan, init,
                                        start ? &items : nullptr);
  auto shards = make_shards(problem, ratings, start, n_shards, n_threads);
  return std::make_unique<SgdSession<T>>(std::move(problem), std::move(shards), link, n_threads, options, Pass{0});
}

template <class T>
std::unique_ptr<FitSession> make_matrix_factorization(const MatrixFactorizationParams& params, CsrView<T> ratings,
                                                      const std::optional<MatrixFactorizationStart<T>>& start,
                                                      Link& link) {
  require(params.n_factors > 0, "n_factors: must be 1 or more");
  require(ratings.cols() > 0, "X: has no columns; pass a matrix of users x items");
  RatingSummary summary = summarise_ratings(ratings, link);
  if (params.solver == "sgd") return make_sgd_session(params, ratings, start, std::move(summary), link);
  if (params.solver == "als") return make_als_session(params, ratings, start, std::move(summary), link);
  throw InvalidArgument("solver='" + params.solver + "' is unknown; choose 'sgd' or 'als'");
}

template ArrayMap factorization_result(Array, Array, const FactorTable<float>&, double, double);
template ArrayMap factorization_result(Array, Array, const FactorTable<double>&, double, double);
template std::unique_ptr<FitSession> make_sgd_session(const MatrixFactorizationParams&, CsrView<float>,
                                                      const std::optional<MatrixFactorizationStart<float>>&,
                                                      RatingSummary, Link&);
template std::unique_ptr<FitSession> make_sgd_session(const MatrixFactorizationParams&, CsrView<double>,
                                                      const std::optional<MatrixFactorizationStart<double>>&,
                                                      RatingSummary, Link&);
template std::unique_ptr<FitSession> make_matrix_factorization(const MatrixFactorizationParams&, CsrView<float>,
                                                               const std::optional<MatrixFactorizationStart<float>>&,
                                                               Link&);
template std::unique_ptr<FitSession> make_matrix_factorization(const MatrixFactorizationParams&, CsrView<double>,
                                                               const std::optional<MatrixFactorizationStart<double>>&,
                                                               Link&);

}  // namespace steppe
