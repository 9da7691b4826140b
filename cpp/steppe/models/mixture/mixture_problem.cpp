#include "steppe/models/mixture/mixture_problem.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "steppe/core/errors.hpp"
#include "steppe/core/special_functions.hpp"

namespace steppe {
namespace {

template <class T>
RowSource<T> all_rows(const MixtureShard<T>& shard, std::span<const T> centre) {
  return {shard.x, shard.weights, centre, true, {}};
}

}  // namespace

template <class T>
MixtureProblem<T>::MixtureProblem(std::uint32_t n_components, MixturePrior prior, std::vector<T> centre,
                                  double total_weight, bool remembers, MixtureStart start)
    : n_components_(n_components), prior_(std::make_shared<MixturePrior>(std::move(prior))), centre_(std::move(centre)),
      total_weight_(total_weight), remembers_(remembers), start_(std::move(start)),
      row_size_(kernels::moment_size(prior_->n_features, prior_->full)) {
  invariant(start_.statistics.empty() || start_.statistics.size() == n_components_ * row_size_,
            "a start has another size than the model");
  panel_.resize(n_components_, prior_->n_features, prior_->full);
}

template <class T>
typename MixtureProblem<T>::Shard MixtureProblem<T>::make_shard(const MixtureRows<T>& rows, std::size_t first,
                                                                std::size_t step) const {
  const std::size_t n = rows.size(first, step);
  Shard shard;
  shard.x = {rows.x.data() + (n > 0 ? first * rows.x.stride() : 0), n, rows.x.cols(), step * rows.x.stride()};
  for (std::size_t i = first; i < rows.weights.size(); i += step) shard.weights.push_back(rows.weights[i]);
  shard.weight = rows.weights.empty() ? double(n) : 0.0;
  for (const T weight : shard.weights) shard.weight += double{weight};
  shard.scratch = std::make_unique<ShareScratch<T>>(prior_->n_features);
  shard.table.resize(n_components_, n);
  shard.contribution.resize(remembers_ ? n_components_ * row_size_ : 0);
  for (std::size_t i = 0; start_.statistics.empty() && i < n; ++i) {
    auto& list = shard.table.list(static_cast<std::size_t>(rows.labels[first + i * step]));
    list.rows.push_back(static_cast<std::uint32_t>(i));
    list.shares.push_back(T{1});
  }
  if (!start_.statistics.empty() && remembers_) first_shares(shard);
  return shard;
}

// What the posteriors to start from say.
template <class T>
void MixtureProblem<T>::first_shares(Shard& shard) const {
  GaussianPanel<T> panel;
  panel.resize(n_components_, prior_->n_features, prior_->full);
  for (std::size_t k = 0; k < n_components_; ++k) {
    place(panel, k, std::span(start_.statistics).subspan(k * row_size_, row_size_));
  }
  std::vector<double> unused(n_components_ * row_size_);
  std::vector<typename ShareTable<T>::List> fresh(n_components_);
  share_out(all_rows(shard, centre()), static_cast<const ShareTable<T>*>(nullptr), panel, std::span(unused),
            fresh.data(), *shard.scratch, HaltProbe());
  for (std::size_t k = 0; k < n_components_; ++k) shard.table.replace(k, std::move(fresh[k]));
}

// Of all components together; they share out the weight of all rows.
template <class T>
double MixtureProblem<T>::total_concentration() const {
  double total = prior_->concentration * n_components_ + total_weight_;
  for (std::size_t k = 0; start_.keep && k < n_components_; ++k) total += start_.statistics[k * row_size_];
  return total;
}

// The statistics that count beside the rows of this fit; empty: none.
template <class T>
std::span<const double> MixtureProblem<T>::base(std::uint32_t id) const {
  if (!start_.keep) return {};
  return std::span(start_.statistics).subspan(id * row_size_, row_size_);
}

template <class T>
void MixtureProblem<T>::init_token(TokenView<double> token, std::uint64_t) const {
  // Shards that remember their shares add what these amount to.
  if (start_.statistics.empty() || (remembers_ && !start_.keep)) {
    std::fill(token.row.begin(), token.row.end(), 0.0);
  } else {
    std::copy_n(start_.statistics.begin() + std::ptrdiff_t(token.id * row_size_), row_size_, token.row.begin());
  }
}

template <class T>
void MixtureProblem<T>::place(GaussianPanel<T>& panel, std::size_t at, std::span<const double> statistics) const {
  ComponentPosterior posterior(*prior_);
  posterior.set(statistics);
  const double log_weight = digamma(posterior.concentration()) - digamma(total_concentration());
  panel.set(at, log_weight + posterior.log_constant(), posterior.mean(), posterior.factor());
}

template <class T>
VisitStats MixtureProblem<T>::visit(Shard& shard, Bundle<double> bundle, const VisitContext& context) {
  if (context.pass == kInit) return add_first(shard, bundle);
  return remembers_ ? meet_some(shard, bundle, context) : meet_all(shard, bundle, context);
}

template <class T>
VisitStats MixtureProblem<T>::add_first(Shard& shard, Bundle<double> bundle) const {
  if (!remembers_ && !start_.statistics.empty()) return {};
  for (std::size_t i = 0; i < bundle.size(); ++i) {
    const auto token = bundle[i];
    std::vector<double> sums(row_size_);
    add_list(all_rows(shard, centre()), shard.table.list(token.id), prior_->full, std::span(sums), *shard.scratch);
    if (remembers_) {
      std::ranges::copy(sums, shard.contribution.begin() + std::ptrdiff_t(token.id * row_size_));
    } else {
      shard.table.list(token.id) = {};
    }
    for (std::size_t j = 0; j < row_size_; ++j) token.row[j] += sums[j];
  }
  return {};
}

template <class T>
VisitStats MixtureProblem<T>::meet_all(Shard& shard, Bundle<double> bundle, const VisitContext& context) const {
  invariant(bundle.size() == n_components_, "a shard without lists of shares must meet all components at once");
  shard.panel.resize(bundle.size(), prior_->n_features, prior_->full);
  for (std::size_t i = 0; i < bundle.size(); ++i) place(shard.panel, i, bundle[i].row);
  shard.sums.assign(bundle.size() * row_size_, 0.0);
  const SharedOut done = share_out(all_rows(shard, centre()), static_cast<const ShareTable<T>*>(nullptr), shard.panel,
                                   std::span(shard.sums), nullptr, *shard.scratch, context.halted);
  if (!done.whole) return {};
  for (std::size_t i = 0; i < bundle.size(); ++i) {
    blend(bundle[i], std::span(shard.sums).subspan(i * row_size_, row_size_), 1, 1);
  }
  return {shard.x.rows() * bundle.size(), -done.log_likelihood};
}

template <class T>
VisitStats MixtureProblem<T>::meet_some(Shard& shard, Bundle<double> bundle, const VisitContext& context) const {
  const auto active = shard.table.gather(bundle.ids());
  shard.panel.resize(bundle.size(), prior_->n_features, prior_->full);
  for (std::size_t i = 0; i < bundle.size(); ++i) place(shard.panel, i, bundle[i].row);
  shard.sums.assign(bundle.size() * row_size_, 0.0);
  std::vector<typename ShareTable<T>::List> fresh(bundle.size());
  const RowSource<T> source{shard.x, shard.weights, centre(), false, active};
  const SharedOut done =
      share_out(source, &shard.table, shard.panel, std::span(shard.sums), fresh.data(), *shard.scratch, context.halted);
  if (!done.whole) return {};
  for (std::size_t i = 0; i < bundle.size(); ++i) {
    const auto token = bundle[i];
    double* const before = shard.contribution.data() + token.id * row_size_;
    for (std::size_t j = 0; j < row_size_; ++j) {
      const double now = shard.sums[i * row_size_ + j];
      token.row[j] += now - before[j];
      before[j] = now;
    }
    shard.table.replace(token.id, std::move(fresh[i]));
  }
  shard.table.settle();
  return {active.size() * bundle.size(), -done.log_likelihood};
}

template <class T>
void MixtureProblem<T>::end_round(Shard& shard, const VisitContext&) {
  if (remembers_) shard.table.count_loose();
}

template <class T>
double MixtureProblem<T>::token_objective(TokenView<const double> token) const {
  ComponentPosterior posterior(*prior_);
  posterior.set(token.row);
  return -(token.row[1] + posterior.log_ratio());
}

template <class T>
double MixtureProblem<T>::token_divergence(TokenView<const double> token) const {
  ComponentPosterior posterior(*prior_);
  posterior.set(token.row);
  return posterior.divergence(total_concentration());
}

template <class T>
double MixtureProblem<T>::finish(double parts, std::span<const double>) const {
  return parts + log_gamma(total_concentration()) - log_gamma(prior_->concentration * n_components_);
}

template <class T>
void MixtureProblem<T>::prepare(Bundle<double> all, std::size_t first, std::size_t last) {
  for (std::size_t k = first; k < last; ++k) place(panel_, k, all[k].row);
}

template <class T>
SweepStats MixtureProblem<T>::sweep(Shard& shard, Bundle<double>, const RowSample& sample, std::span<double> sums,
                                    const VisitContext& context) const {
  SweepStats stats;
  if (context.pass == kInit) {
    if (!start_.statistics.empty()) return stats;
    for (std::size_t k = 0; k < n_components_; ++k) {
      add_list(all_rows(shard, centre()), shard.table.list(k), prior_->full, sums.subspan(k * row_size_, row_size_),
               *shard.scratch);
    }
    shard.table.clear();
    stats.weight = shard.weight;
    return stats;
  }
  const RowSource<T> source{shard.x, shard.weights, centre(), sample.all, sample.rows};
  const SharedOut done = share_out(source, static_cast<const ShareTable<T>*>(nullptr), panel_, sums, nullptr,
                                   *shard.scratch, context.halted);
  stats.updates = source.size() * n_components_;
  stats.loss = -done.log_likelihood;
  stats.weight = done.weight;
  return stats;
}

template <class T>
void MixtureProblem<T>::blend(TokenView<double> token, std::span<const double> sums, double rate, double scale) const {
  const auto start = base(token.id);
  for (std::size_t j = 0; j < row_size_; ++j) {
    const double fixed = start.empty() ? 0.0 : start[j];
    token.row[j] = fixed + (1 - rate) * (token.row[j] - fixed) + rate * scale * sums[j];
  }
}

template class MixtureProblem<float>;
template class MixtureProblem<double>;

}  // namespace steppe
