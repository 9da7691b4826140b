#include "steppe/models/mixture/mixture_fit.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "steppe/models/token_session.hpp"

namespace steppe {
namespace {

std::uint32_t shards_of_all_ranks(Link& link, std::uint32_t mine) {
  std::uint64_t total = mine;
  sum_over_ranks(link, std::span(&total, 1));
  return static_cast<std::uint32_t>(total);
}

template <class T>
class MixtureSession final : public TokenSession<MixtureProblem<T>> {
 public:
  using TokenSession<MixtureProblem<T>>::TokenSession;

  ArrayMap result() override {
    Control undisturbed;
    const double bound = -this->objective(undisturbed);
    const MixturePrior& prior = this->problem_.prior();
    const std::size_t size = this->problem_.row_size(), k_all = this->problem_.n_tokens(), d = prior.n_features;
    std::vector<double> rows(k_all * size);
    this->engine_.gather(rows);

    ArrayMap fitted;
    const std::vector<std::size_t> each{k_all}, vectors{k_all, d};
    const std::vector<std::size_t> matrices = prior.full ? std::vector<std::size_t>{k_all, d, d} : vectors;
    const auto values = [&](const char* name, const std::vector<std::size_t>& shape) {
      return (fitted[name] = Array::zeros<T>(shape)).template as<T>();
    };
    const auto concentration = values("weight_concentration", each), beta = values("mean_precision", each),
               dof = values("degrees_of_freedom", each), means = values("means", vectors),
               covariances = values("covariances", matrices), precisions = values("precisions", matrices),
               factors = values("precisions_cholesky", matrices);
    fitted["entropy"] = Array::zeros<double>({k_all});
    ComponentPosterior posterior(prior);
    std::vector<double> covariance(prior.scale.size());
    for (std::size_t k = 0; k < k_all; ++k) {
      const auto row = std::span<const double>(rows).subspan(k * size, size);
      posterior.set(row);
      concentration[k] = static_cast<T>(posterior.concentration());
      beta[k] = static_cast<T>(posterior.mean_precision());
      dof[k] = static_cast<T>(posterior.dof());
      fitted["entropy"].template as<double>()[k] = row[1];
      for (std::size_t j = 0; j < d; ++j) {
        means[k * d + j] = static_cast<T>(posterior.mean()[j] + double{this->problem_.centre()[j]});
      }
      posterior.covariance(covariance);
      const std::size_t at = k * covariance.size();
      std::ranges::transform(covariance, covariances.begin() + std::ptrdiff_t(at),
                             [](double value) { return static_cast<T>(value); });
      add_precision(posterior.factor(), prior, factors.subspan(at, covariance.size()),
                    precisions.subspan(at, covariance.size()));
    }
    fitted["lower_bound"] = Array::scalar(bound);
    return fitted;
  }

 private:
  // F'F is half the precision; scikit-learn's factor is upper triangular.
  static void add_precision(std::span<const double> f, const MixturePrior& prior, std::span<T> factor,
                            std::span<T> precision) {
    const std::size_t d = prior.n_features;
    const double root = std::sqrt(2.0);
    for (std::size_t i = 0; i < d; ++i) {
      if (!prior.full) {
        factor[i] = static_cast<T>(root * f[i]);
        precision[i] = static_cast<T>(2 * f[i] * f[i]);
        continue;
      }
      for (std::size_t j = 0; j < d; ++j) {
        factor[j * d + i] = static_cast<T>(root * f[i * d + j]);
        double sum = 0;
        for (std::size_t k = std::max(i, j); k < d; ++k) sum += f[k * d + i] * f[k * d + j];
        precision[i * d + j] = static_cast<T>(2 * sum);
      }
    }
  }
};

template <class T>
MixturePrior prior_of(const MixtureParams& params, const MixtureData<T>& data) {
  const std::size_t d = data.rows.x.cols();
  std::vector<double> mean(data.mean_prior.begin(), data.mean_prior.end());
  for (std::size_t j = 0; j < d; ++j) mean[j] -= double{data.centre[j]};
  return {d,          params.full, params.concentration, params.mean_precision,
          params.dof, params.blur, std::move(mean),      {data.scale.begin(), data.scale.end()}};
}

template <class T>
std::unique_ptr<FitSession> make_session(const MixtureParams& params, MixtureData<T> data, Link& link) {
  const Schedule schedule = parse_schedule(params.schedule, params.n_threads, link.size(), Schedule::batch);
  const std::uint32_t workers = workers_for(schedule, params.n_threads);
  const std::uint32_t n_shards = schedule == Schedule::bsp && params.n_shards > 0 ? params.n_shards : workers;
  const std::uint32_t of_all = shards_of_all_ranks(link, n_shards);
  EngineOptions options;
  options.schedule = schedule;
  options.seed = params.seed;
  // Larger packets mix better, several a worker keep all at work.
  options.packet_tokens = of_all == 1 ? params.n_components : std::max(2u, params.n_components / (2 * of_all));
  options.batch_rows = params.batch_rows;
  options.learning_decay = params.learning_decay;
  options.learning_offset = params.learning_offset;
  const bool remembers = !meets_all_tokens(schedule) && of_all > 1;
  MixtureProblem<T> problem(params.n_components, prior_of(params, data), {data.centre.begin(), data.centre.end()},
                            params.total_weight, remembers, std::move(data.start));
  std::vector<MixtureShard<T>> shards;
  for (std::uint32_t s = 0; s < n_shards; ++s) shards.push_back(problem.make_shard(data.rows, s, n_shards));
  return std::make_unique<MixtureSession<T>>(std::move(problem), std::move(shards), link, workers, options,
                                             MixtureProblem<T>::kTrain);
}

}  // namespace

std::unique_ptr<FitSession> make_mixture_session(const MixtureParams& params, MixtureData<float> data, Link& link) {
  return make_session(params, std::move(data), link);
}
std::unique_ptr<FitSession> make_mixture_session(const MixtureParams& params, MixtureData<double> data, Link& link) {
  return make_session(params, std::move(data), link);
}

}  // namespace steppe
