#include "steppe/models/ranking/local_gmml.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "steppe/comm/wire.hpp"
#include "steppe/models/ranking/warp.hpp"

namespace steppe {
namespace {

constexpr std::size_t kTile = 256;
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

double feature(double squared, double rho, bool distance_form) {
  return distance_form ? -squared : std::exp(-rho / 2 * squared);
}

// The value that half of all ranks' values do not exceed.
double median_over_ranks(std::span<const double> values, Link& link) {
  Bytes mine;
  WireWriter(mine).put(values);
  std::vector<double> all;
  for (const Bytes& part : link.allgather(std::move(mine))) {
    const std::size_t before = all.size();
    all.resize(before + part.size() / sizeof(double));
    WireReader(part).get(std::span(all).subspan(before));
  }
  require(std::all_of(all.begin(), all.end(), [](double value) { return std::isfinite(value); }),
          "X: the squared distances of documents overflow; scale the features");
  const auto middle = all.begin() + static_cast<std::ptrdiff_t>((all.size() - 1) / 2);
  std::nth_element(all.begin(), middle, all.end());
  return *middle;
}

template <class T>
class LocalGmmlSession final : public FitSession {
 public:
  LocalGmmlSession(const LocalGmmlParams& params, const RankedQueries<T>& queries, const LocalGmmlModel<T>& start,
                   Link& link)
      : params_(params), queries_(queries), start_(start), link_(link), team_(params.n_threads) {}

  Progress advance(std::uint32_t rounds, Control& control) override {
    if (!prepare(control)) return {0, 0, true};
    Pacer pacer(control);
    Progress progress;
    for (std::uint32_t round = 0; round < rounds; ++round) {
      if (!settled_) progress.stopped |= trainer_->round(pacer.stop_requested());
      ndcg_.push_back(kNone);
      if (!settled_ && !split_.held_out.all.empty()) watch(ndcg_.back() = ndcg(split_.held_out));
      progress.updates += trainer_->updates_of_a_round();
    }
    return progress;
  }

  double objective(Control&) override {
    if (split_.held_out.all.empty() && !ndcg_.empty()) ndcg_.back() = ndcg(split_.train);
    return trainer_->loss();
  }

  std::uint32_t rounds_done() const override { return static_cast<std::uint32_t>(ndcg_.size()); }

  // Metrics are made anew by a resume: they depend on the seed and the data only.
  ArrayMap state() const override {
    ArrayMap state;
    state["ndcg"] = Array::copy_of(std::span<const double>(ndcg_));
    if (!trainer_) return state;
    state["phi"] = Array::copy_of(trainer_->phi());
    state["steps"] = Array::scalar(trainer_->steps());
    state["best_phi"] = Array::copy_of(std::span<const double>(best_phi_));
    state["best"] = Array::scalar(best_);
    state["waiting"] = Array::scalar(waiting_);
    state["settled"] = Array::scalar(static_cast<std::uint8_t>(settled_));
    return state;
  }

  void restore(const ArrayMap& state) override {
    Control control;
    prepare(control);
    const auto copy = [&](const char* name, auto& to) {
      const auto from = at(state, name).template as<double>();
      to.assign(from.begin(), from.end());
    };
    copy("ndcg", ndcg_);
    copy("best_phi", best_phi_);
    const auto phi = at(state, "phi").template as<double>();
    require(phi.size() == trainer_->phi().size(), "state: it is of a fit with other queries or metrics");
    std::copy(phi.begin(), phi.end(), trainer_->phi().begin());
    trainer_->steps() = at(state, "steps").template as<std::uint32_t>()[0];
    best_ = at(state, "best").template as<double>()[0];
    waiting_ = at(state, "waiting").template as<std::uint32_t>()[0];
    settled_ = at(state, "settled").template as<std::uint8_t>()[0] != 0;
  }

  ArrayMap result() override {
    Control control;
    prepare(control);
    const std::size_t m = metrics_.size(), d = queries_.x.cols();
    ArrayMap result;
    Array anchors = Array::zeros<T>({m, d}), components = Array::zeros<T>({m, d, d}), weights = Array::zeros<T>({m});
    const std::vector<double> current(trainer_->phi().begin(), trainer_->phi().end());
    if (!best_phi_.empty()) std::copy(best_phi_.begin(), best_phi_.end(), trainer_->phi().begin());
    const std::vector<double> phi = trainer_->mean_phi();
    for (std::size_t r = 0; r < m; ++r) {
      std::copy(metrics_[r].anchor.begin(), metrics_[r].anchor.end(), anchors.as<T>().data() + r * d);
      std::copy(metrics_[r].components.begin(), metrics_[r].components.end(), components.as<T>().data() + r * d * d);
      weights.as<T>()[r] = static_cast<T>(phi[r] * unit_);
    }
    if (params_.per_query) result["query_weights"] = query_weights(phi);
    std::copy(current.begin(), current.end(), trainer_->phi().begin());
    result["anchors"] = std::move(anchors);
    result["components"] = std::move(components);
    result["weights"] = std::move(weights);
    result["ndcg"] = Array::copy_of(std::span<const double>(ndcg_));
    return result;
  }

 private:
  // Collective. Metrics, features and the trainer; false (on every rank) if a stop was asked for.
  bool prepare(Control& control) {
    if (trainer_) return true;
    lower_.clear();
    for (std::size_t q = 0; q < queries_.size(); ++q) {
      const auto lower = count_lower(queries_.grade.subspan(queries_.begin(q), queries_.end(q) - queries_.begin(q)));
      lower_.insert(lower_.end(), lower.begin(), lower.end());
    }
    split_ = hold_out(take_census(queries_, std::span<const std::uint32_t>(lower_), link_), params_.validation_fraction,
                      params_.metrics.seed, link_.rank());
    require(!split_.train.all.empty(), "y: no query to train on has documents of different grades");
    require(params_.validation_fraction == 0 || !split_.held_out.all.empty(),
            "validation_fraction: no query is left to be held out; increase it, or use early_stopping=False");
    if (!find_metrics(control)) return false;
    make_features();
    trainer_.emplace(WarpData{{features_.data(), lower_.size(), metrics_.size()},
                              queries_.weight,
                              lower_,
                              queries_.offsets,
                              split_.train},
                     params_.per_query, params_.metrics.seed, link_, team_);
    for (std::size_t i = 0; i < trainer_->phi().size() && !start_.weights.empty(); ++i) {
      trainer_->phi()[i] = static_cast<double>(start_.weights[i % metrics_.size()]) / unit_;
    }
    return true;
  }

  bool find_metrics(Control& control) {
    const std::size_t d = queries_.x.cols();
    if (start_.weights.empty()) {
      metrics_ = learn_metric_set(queries_, split_.train, params_.metrics, link_, team_, control);
      return !metrics_.empty();
    }
    metrics_.resize(start_.weights.size());
    for (std::size_t r = 0; r < metrics_.size(); ++r) {
      const auto anchor = start_.anchors.row(r);
      metrics_[r].anchor.assign(anchor.begin(), anchor.end());
      metrics_[r].components.assign(start_.components[r].data(), start_.components[r].data() + d * d);
    }
    return true;
  }

  // One column for each metric, scaled as a whole.
  void make_features() {
    const std::size_t n = lower_.size(), m = metrics_.size();
    std::vector<double> squared(n * m);  // by metric
    team_.parallel_for((n + kTile - 1) / kTile, 1, [&](std::size_t first, std::size_t last, std::uint32_t) {
      for (std::size_t tile = first * kTile; tile < std::min(last * kTile, n); tile += kTile) {
        const std::size_t rows = std::min(kTile, n - tile);
        for (std::size_t r = 0; r < m; ++r) {
          anchor_distances(metrics_[r].distance(), queries_.x, queries_.order.subspan(tile, rows),
                           std::span(squared).subspan(r * n + tile, rows));
        }
      }
    });
    features_.resize(n * m);
    for (std::size_t r = 0; r < m; ++r) {
      const std::span<const double> own(squared.data() + r * n, n);
      const double unit = start_.weights.empty() ? scale(metrics_[r], own) : 1;
      for (std::size_t i = 0; i < n; ++i) {
        features_[i * m + r] = feature(own[i] / unit, params_.rho, params_.distance_form);
      }
    }
    unit_ = score_unit();
    for (double& value : features_) value *= unit_;
  }

  // Makes the median squared distance of the training documents 1; returns what it was.
  double scale(LocalMetric<T>& metric, std::span<const double> squared) {
    std::vector<double> train;
    for (const std::uint32_t q : split_.train.own) {
      for (std::size_t i = queries_.begin(q); i < queries_.end(q); ++i) train.push_back(squared[i]);
    }
    const double median = median_over_ranks(train, link_);
    if (!(median > 0)) return 1;
    metric.divide_by(median);
    return median;
  }

  // What makes the mean of the features range over 1 in a query, on average.
  double score_unit() {
    const std::size_t m = metrics_.size();
    std::vector<double> ranges;
    for (const std::uint32_t q : split_.train.own) {
      double lowest = std::numeric_limits<double>::infinity(), highest = -lowest;
      for (std::size_t i = queries_.begin(q); i < queries_.end(q); ++i) {
        double sum = 0;
        for (std::size_t r = 0; r < m; ++r) sum += features_[i * m + r];
        lowest = std::min(lowest, sum / static_cast<double>(m));
        highest = std::max(highest, sum / static_cast<double>(m));
      }
      ranges.push_back(highest - lowest);
    }
    const double range = split_.train.mean(ranges, link_);
    return range > 0 ? 1 / range : 1;
  }

  // Collective. The mean NDCG of those queries; a query that was trained on counts with its own weights.
  double ndcg(const QueryCensus& census) {
    const std::size_t m = metrics_.size();
    const bool own_weights = params_.per_query && &census == &split_.train;
    const std::vector<double> mean = trainer_->mean_phi();
    std::vector<double> scores, gains;
    std::vector<std::int64_t> offsets{0};
    for (std::size_t q = 0; q < census.own.size(); ++q) {
      const double* const phi = own_weights ? trainer_->phi().data() + q * m : mean.data();
      for (std::size_t i = queries_.begin(census.own[q]); i < queries_.end(census.own[q]); ++i) {
        double score = 0;
        for (std::size_t r = 0; r < m; ++r) score += phi[r] * features_[i * m + r];
        scores.push_back(score);
        gains.push_back(exponential_gain(queries_.grade[i]));
      }
      offsets.push_back(static_cast<std::int64_t>(scores.size()));
    }
    return census.mean(ndcg_by_query(scores, gains, offsets, kNdcgPlaces, team_), link_);
  }

  // Keeps the best weights, and settles on them once the NDCG of held-out queries has stopped rising.
  void watch(double now) {
    const auto phi = trainer_->phi();
    waiting_ = now > best_ + params_.tol ? 0 : waiting_ + 1;
    if (now > best_) {
      best_ = now;
      best_phi_.assign(phi.begin(), phi.end());
    }
    settled_ = waiting_ >= params_.patience;
    if (settled_) std::copy(best_phi_.begin(), best_phi_.end(), phi.begin());
  }

  // Collective. Of all queries of all ranks, by number; one that was not trained on has the mean.
  Array query_weights(std::span<const double> mean) {
    const std::size_t m = metrics_.size();
    std::vector<double> own;
    for (std::size_t q = 0; q < queries_.size(); ++q) own.insert(own.end(), mean.begin(), mean.end());
    for (std::size_t q = 0; q < split_.train.own.size(); ++q) {
      std::copy_n(trainer_->phi().data() + q * m, m, own.data() + split_.train.own[q] * m);
    }
    Bytes mine;
    WireWriter writer(mine);
    for (std::size_t q = 0; q < queries_.size(); ++q) {
      writer.put(queries_.number[q]);
      writer.put(std::span<const double>(own).subspan(q * m, m));
    }
    const std::vector<Bytes> parts = link_.allgather(std::move(mine));
    std::size_t n_bytes = 0;
    for (const Bytes& part : parts) n_bytes += part.size();
    Array array = Array::zeros<T>({n_bytes / (sizeof(std::int64_t) + m * sizeof(double)), m});
    for (const Bytes& part : parts) {
      for (WireReader reader(part); !reader.empty();) {
        const auto number = static_cast<std::size_t>(reader.get<std::int64_t>());
        invariant(number < array.shape[0], "queries are not numbered from 0 without a gap");
        T* const row = array.as<T>().data() + number * m;
        for (std::size_t r = 0; r < m; ++r) row[r] = static_cast<T>(reader.get<double>() * unit_);
      }
    }
    return array;
  }

  LocalGmmlParams params_;
  RankedQueries<T> queries_;
  LocalGmmlModel<T> start_;
  Link& link_;
  Team team_;
  std::vector<std::uint32_t> lower_;
  SplitCensus split_;
  std::vector<LocalMetric<T>> metrics_;
  std::vector<double> features_;  // (n, m), times unit_
  double unit_ = 1;
  std::optional<WarpTrainer> trainer_;
  std::vector<double> ndcg_;  // after each round
  std::vector<double> best_phi_;
  double best_ = 0;
  std::uint32_t waiting_ = 0;
  bool settled_ = false;
};

}  // namespace

template <class T>
AnchorDistance<T> LocalGmmlModel<T>::distance(std::size_t r) const {
  return {components[r], {}, T{0}, anchors.row(r)};
}

template <class T>
void local_gmml_scores(const LocalGmmlModel<T>& model, double rho, bool distance_form, MatrixView<const T> x,
                       std::span<T> out, Team& team) {
  team.parallel_for(out.size(), kTile, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t first = begin; first < end; first += kTile) {
      const std::size_t n = std::min(kTile, end - first);
      std::vector<double> squared(n), score(n, 0.0);
      for (std::size_t r = 0; r < model.weights.size(); ++r) {
        if (model.weights[r] == T{0}) continue;  // its distance may be infinite
        anchor_distances<T>(model.distance(r), {x.row(first).data(), n, x.cols(), x.stride()}, {}, squared);
        const auto weight = static_cast<double>(model.weights[r]);
        for (std::size_t i = 0; i < n; ++i) score[i] += weight * feature(squared[i], rho, distance_form);
      }
      std::transform(score.begin(), score.end(), out.begin() + static_cast<std::ptrdiff_t>(first),
                     [](double value) { return static_cast<T>(value); });
    }
  });
}

template <class T>
std::unique_ptr<FitSession> make_local_gmml_session(const LocalGmmlParams& params, const RankedQueries<T>& queries,
                                                    const LocalGmmlModel<T>& start, Link& link) {
  return std::make_unique<LocalGmmlSession<T>>(params, queries, start, link);
}

template struct LocalGmmlModel<float>;
template void local_gmml_scores(const LocalGmmlModel<float>&, double, bool, MatrixView<const float>, std::span<float>,
                                Team&);
template std::unique_ptr<FitSession> make_local_gmml_session(const LocalGmmlParams&, const RankedQueries<float>&,
                                                             const LocalGmmlModel<float>&, Link&);
template struct LocalGmmlModel<double>;
template void local_gmml_scores(const LocalGmmlModel<double>&, double, bool, MatrixView<const double>,
                                std::span<double>, Team&);
template std::unique_ptr<FitSession> make_local_gmml_session(const LocalGmmlParams&, const RankedQueries<double>&,
                                                             const LocalGmmlModel<double>&, Link&);

}  // namespace steppe
