#include "steppe/models/topics/batch_dirichlet_problem.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "steppe/core/rng.hpp"
#include "steppe/core/special_functions.hpp"
#include "steppe/kernels/topic_fold.hpp"

namespace steppe {

template <class T>
BatchDirichletProblem<T>::BatchDirichletProblem(TopicSettings settings, TopicPriors priors, TopicStart start,
                                                std::uint64_t n_documents)
    : settings_(settings), priors_(std::move(priors)), start_(std::move(start)), n_documents_(n_documents),
      stride_(padded<T>(n_topics())), alpha_(stride_), topics_(n_tokens() * stride_), totals_(n_topics()),
      expected_totals_(n_topics()), scale_(n_topics()) {
  std::ranges::copy(priors_.of_documents, alpha_.begin());
}

template <class T>
SweptDocuments<T> BatchDirichletProblem<T>::make_shard(CsrView<T> documents, std::uint64_t) const {
  Shard shard;
  shard.documents = DocumentRows<T>(documents);
  shard.scratch.resize(3 * stride_);
  return shard;
}

// From nothing lambda - eta is one, give or take a fifth: topics that differ a little and know nothing of documents.
template <class T>
void BatchDirichletProblem<T>::init_token(TokenView<double> word, std::uint64_t) const {
  if (!start_.counts.empty()) {
    std::ranges::copy(std::span(start_.counts).subspan(word.id * n_topics(), n_topics()), word.row.begin());
    return;
  }
  Stream stream(settings_.seed, Purpose::init_token, word.id);
  for (double& count : word.row) count = 0.8 + 0.4 * stream.uniform();
}

template <class T>
void BatchDirichletProblem<T>::begin_step(Bundle<double> all) {
  std::ranges::fill(totals_, priors_.words_total);
  for (std::size_t v = 0; v < all.size(); ++v) {
    const auto counts = all[v].row;
    for (std::size_t k = 0; k < n_topics(); ++k) totals_[k] += counts[k];
  }
  for (std::size_t k = 0; k < n_topics(); ++k) {
    expected_totals_[k] = digamma(totals_[k]);
    scale_[k] = static_cast<T>(std::exp(-expected_totals_[k]));
  }
}

template <class T>
void BatchDirichletProblem<T>::prepare(Bundle<double> all, std::size_t first, std::size_t last) {
  for (std::size_t v = first; v < last; ++v) {
    const auto counts = all[v].row;
    const double eta = priors_.of_words[v];
    const auto row = std::span(topics_).subspan(v * stride_, n_topics());
    for (std::size_t k = 0; k < n_topics(); ++k) row[k] = static_cast<T>(counts[k] + eta);
    kernels::exp_digamma(row, row.data());
    for (std::size_t k = 0; k < n_topics(); ++k) row[k] *= scale_[k];
  }
}

template <class T>
SweepStats BatchDirichletProblem<T>::sweep(Shard& shard, Bundle<double>, const RowSample& sample,
                                           std::span<double> sums, const VisitContext& context) const {
  SweepStats stats;
  const std::size_t n = sample.all ? shard.documents.size() : sample.rows.size();
  for (std::size_t i = 0; i < n; ++i) {
    const SparseRow<T> words = shard.documents.row(sample.all ? i : sample.rows[i]);
    stats.loss -= settle(words, shard.scratch, sums);
    stats.updates += words.size();
    stats.weight += 1;
    if (context.halted(words.size() * n_topics())) return stats;
  }
  return stats;
}

// Finds where the document settles, adds its words' shares to the sums, and returns its part of the bound.
template <class T>
double BatchDirichletProblem<T>::settle(const SparseRow<T>& words, std::span<T> scratch, std::span<double> sums) const {
  T* const gamma = scratch.data();
  T* const theta = gamma + stride_;
  T* const counts = theta + stride_;
  double n_words = 0;
  for (const T count : words.values) n_words += static_cast<double>(count);
  std::fill_n(counts, n_topics(), static_cast<T>(n_words / static_cast<double>(n_topics())));
  const auto take_over = [&] {
    double moved = 0;
    for (std::size_t k = 0; k < stride_; ++k) {
      const T now = alpha_[k] + counts[k];
      moved += std::abs(static_cast<double>(now - gamma[k]));
      gamma[k] = now;
    }
    kernels::exp_digamma({gamma, stride_}, theta);
    return moved;
  };
  take_over();
  for (std::uint32_t turn = 0; turn < kMostTurns; ++turn) {
    kernels::fold_document(words, topics_.data(), stride_, theta, counts);
    if (take_over() < kSettled * static_cast<double>(n_topics())) break;
  }
  const double likelihood = kernels::add_folded(words, topics_.data(), stride_, theta, n_topics(), sums.data());
  double total = 0;
  for (std::size_t k = 0; k < n_topics(); ++k) total += static_cast<double>(gamma[k]);
  return likelihood - n_words * digamma(total) - divergence({gamma, n_topics()}, total);
}

// Of q(theta_d) from its prior.
template <class T>
double BatchDirichletProblem<T>::divergence(std::span<const T> gamma, double total) const {
  const double expected_total = digamma(total);
  double sum = log_gamma(total), prior_total = 0;
  for (std::size_t k = 0; k < n_topics(); ++k) {
    const auto g = static_cast<double>(gamma[k]), prior = static_cast<double>(alpha_[k]);
    sum += log_gamma(prior) - log_gamma(g) + (g - prior) * (digamma(g) - expected_total);
    prior_total += prior;
  }
  return sum - log_gamma(prior_total);
}

template <class T>
void BatchDirichletProblem<T>::blend(TokenView<double> word, std::span<const double> sums, double rate,
                                     double scale) const {
  for (std::size_t k = 0; k < n_topics(); ++k) {
    const double fixed = start_.adds ? start_.counts[word.id * n_topics() + k] : 0.0;
    word.row[k] = fixed + (1 - rate) * (word.row[k] - fixed) + rate * scale * sums[k];
  }
}

// Of q(phi) from its prior: the part of the word here, that of the totals in finish().
template <class T>
double BatchDirichletProblem<T>::token_divergence(TokenView<const double> word) const {
  const double eta = priors_.of_words[word.id];
  double sum = static_cast<double>(n_topics()) * log_gamma(eta);
  for (std::size_t k = 0; k < n_topics(); ++k) {
    const double lambda = word.row[k] + eta;
    sum += word.row[k] * (digamma(lambda) - expected_totals_[k]) - log_gamma(lambda);
  }
  return sum;
}

template <class T>
double BatchDirichletProblem<T>::finish(double parts, std::span<const double>) const {
  for (const double total : totals_) parts += log_gamma(total) - log_gamma(priors_.words_total);
  return parts;
}

template class BatchDirichletProblem<float>;
template class BatchDirichletProblem<double>;

}  // namespace steppe
