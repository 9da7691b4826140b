#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/core/special_functions.hpp"
#include "steppe/kernels/gamma_functions.hpp"
#include "steppe/kernels/topic_visit.hpp"
#include "steppe/models/topics/documents.hpp"
#include "steppe/models/topics/topic_settings.hpp"
#include "steppe/schedules/concepts.hpp"

namespace steppe {

// Latent Dirichlet allocation, doubly separable. Each entry (d, v) of a corpus, a word v that occurs count times in
// document d, has topics z, and with
//
//   gamma_d = alpha + sum_v count z     lambda_v = eta_v + sum_d count z     total = sum_v lambda_v
//
// the bound on log p(words) is, once gamma and lambda are these sums,
//
//   sum_d [lgB(gamma_d) - lgB(alpha)] + sum_k [lgB(lambda_k) - lgB(eta)] - sum_dv count sum_k z log z,
//   lgB(x) = sum_i log Gamma(x_i) - log Gamma(sum_i x_i)
//
// Documents and z stay in shards, words travel: a token is n_v = lambda_v - eta_v, and a visit one pass over the
// entries of word v in the shard's documents. The totals without their prior are the engine's globals. Tokens and
// globals are double whatever the documents are: the count of a frequent word swallows what one entry changes in float.

template <class T>
struct DocumentShard {
  using Stored = typename kernels::Share<T>::Stored;

  WordColumns<T> words;
  std::uint64_t first_document = 0;  // number of its first over all ranks
  std::size_t n_documents = 0;
  AlignedVector<T> gamma;             // padded rows
  AlignedVector<Stored> z;            // by entry: padded rows, or the kept ones
  std::vector<std::uint16_t> topics;  // of those kept, if not all are
  double bound = 0;                   // of the documents alone, at the last evaluation
  AlignedVector<T> scratch;
  std::vector<std::int32_t> best;
};

template <class T>
class LatentDirichletProblem : public ProblemDefaults<DocumentShard<T>, double> {
 public:
  using Shard = DocumentShard<T>;
  static constexpr Pass kInit = 0, kTrain = 1, kEvaluate = 2;
  static constexpr int init_pass = kInit, evaluate_pass = kEvaluate;

  static constexpr std::uint32_t kWarmUpRounds = 8;  // of collapsed inference before mean field

  // With a start each entry takes its first z from that model.
  LatentDirichletProblem(TopicSettings settings, TopicPriors priors, TopicStart start)
      : settings_(settings), priors_(std::move(priors)), start_(std::move(start)), stride_(padded<T>(n_topics())),
        alpha_(stride_), noise_(start_.counts.empty() ? stride_ << kNoiseBits : 0), start_totals_(n_topics()) {
    std::ranges::copy(priors_.of_documents, alpha_.begin());
    Stream stream(settings_.seed, Purpose::init_row, 0);
    for (T& value : noise_) value = static_cast<T>(-std::log1p(-stream.uniform()));
    for (std::size_t i = 0; i < start_.counts.size(); ++i) start_totals_[i % n_topics()] += start_.counts[i];
  }

  std::uint32_t n_tokens() const { return static_cast<std::uint32_t>(priors_.of_words.size()); }
  std::uint32_t row_size() const { return settings_.n_topics; }
  std::uint32_t n_globals() const { return settings_.n_topics; }

  void init_token(TokenView<double> word, std::uint64_t) const {
    std::ranges::fill(word.row, 0.0);
    if (start_.adds) std::ranges::copy(start_of(word.id), word.row.begin());
  }
  void init_globals(std::span<double> totals) const {
    std::ranges::fill(totals, 0.0);
    if (start_.adds) std::ranges::copy(start_totals_, totals.begin());
  }

  bool touches(const Shard& shard, std::uint32_t word, Pass) const { return shard.words.count(word) > 0; }

  VisitStats visit(Shard& shard, TokenView<double> word, const VisitContext& context) const {
    const std::size_t n = shard.words.count(word.id);
    if (context.pass == kEvaluate) return {n, entropy(shard, word.id)};
    const bool first = context.pass == kInit;
    const bool from_start = first && !start_.counts.empty();
    const auto topics = load_word(shard, word.id, from_start ? start_of(word.id) : word.row,
                                  from_start ? std::span<const double>(start_totals_) : context.globals);
    move(shard, word.id, topics, context);
    for (std::size_t k = 0; k < n_topics(); ++k) {
      word.row[k] += static_cast<double>(topics.change[k]);
      context.globals[k] += static_cast<double>(topics.change[k]);
    }
    return {n, 0};
  }

  void end_round(Shard& shard, const VisitContext& context) const {
    if (context.pass == kEvaluate) shard.bound = documents_bound(shard);
    if (context.pass == kTrain && context.round % kResumEvery == kResumEvery - 1) resum(shard);
  }

  double shard_objective(const Shard& shard) const { return shard.bound; }

  double token_objective(TokenView<const double> word) const {
    const double eta = priors_.of_words[word.id];
    double sum = 0;
    for (const double count : word.row) sum += log_gamma(std::max(count, 0.0) + eta);
    return sum - static_cast<double>(n_topics()) * log_gamma(eta);
  }

  // The objective is the negative bound.
  double finish(double parts, std::span<const double> totals) const {
    for (const double total : totals) {
      parts += log_gamma(priors_.words_total) - log_gamma(std::max(total, 0.0) + priors_.words_total);
    }
    return -parts;
  }

  template <class F>
  static void state(Shard& shard, F&& f) {
    f("gamma", std::span<T>(shard.gamma));
    f("z", bytes_of(shard.z));
    f("topics", bytes_of(shard.topics));
  }

  // The shard of those documents, the first being number `first_document` over all ranks.
  Shard make_shard(CsrView<T> documents, std::uint64_t first_document) const;

  const TopicSettings& settings() const { return settings_; }
  std::size_t stride() const { return stride_; }

 private:
  static constexpr std::uint32_t kNoiseBits = 8;
  static constexpr std::uint32_t kResumEvery = 16;  // rounds, against the drift of gamma

  // As a checkpoint holds what is stored in 16 bits.
  static std::span<std::uint8_t> bytes_of(auto& values) {
    return {reinterpret_cast<std::uint8_t*>(values.data()), values.size() * sizeof(values[0])};
  }

  std::size_t n_topics() const { return settings_.n_topics; }
  std::size_t width() const { return settings_.kept > 0 ? settings_.kept : stride_; }  // of an entry's z
  std::span<const double> start_of(std::uint32_t word) const {
    return std::span(start_.counts).subspan(word * n_topics(), n_topics());
  }
  kernels::TopicDocuments<T> documents_of(Shard& shard) const { return {shard.gamma.data(), alpha_.data(), stride_}; }

  // Scratch: lambda, totals, change, and what the kernels need.
  static constexpr std::size_t kScratchRows = 3 + kernels::kVisitScratch;

  kernels::WordTopics<T> load_word(Shard& shard, std::uint32_t word, std::span<const double> counts,
                                   std::span<const double> totals) const {
    const double eta = priors_.of_words[word];
    T* const lambda = shard.scratch.data();
    T* const all = lambda + stride_;
    T* const change = all + stride_;
    for (std::size_t k = 0; k < n_topics(); ++k) {
      lambda[k] = static_cast<T>(counts[k] + eta);
      all[k] = static_cast<T>(totals[k] + priors_.words_total);
    }
    std::fill(lambda + n_topics(), all, static_cast<T>(eta));
    std::fill(all + n_topics(), change, static_cast<T>(priors_.words_total));
    std::fill_n(change, stride_, T(0));
    return {lambda, all, change, static_cast<T>(eta), static_cast<T>(priors_.words_total)};
  }

  // First visits are collapsed ones whatever the inference, and so are the first rounds of a fit that starts from
  // nothing: mean field holds on to the topics that it finds early, and from random ones it ends in worse optima.
  void move(Shard& shard, std::uint32_t word, const kernels::WordTopics<T>& topics, const VisitContext& context) const {
    const bool first = context.pass == kInit;
    const bool warms_up = context.round < kWarmUpRounds && start_.counts.empty();
    const bool collapsed = first || warms_up || settings_.inference == TopicInference::collapsed;
    const kernels::TopicNoise<T> noise{first && !noise_.empty() ? noise_.data() : nullptr, kNoiseBits,
                                       static_cast<std::uint32_t>(shard.first_document) + word * 0x85EBCA6Bu};
    const auto documents = shard.words.documents_of(word);
    const auto counts = shard.words.counts_of(word);
    auto* const z = shard.z.data() + shard.words.first(word) * width();
    T* const scratch = shard.scratch.data() + 3 * stride_;
    if (settings_.kept > 0) {
      auto* const kept = shard.topics.data() + shard.words.first(word) * width();
      kernels::truncated_visit(documents_of(shard), {documents, counts, kept, z, width()}, topics, noise, collapsed,
                               {scratch, shard.best.data()});
    } else if (collapsed) {
      kernels::collapsed_visit(documents_of(shard), {documents, counts, z}, topics, noise, scratch);
    } else {
      kernels::mean_field_visit(documents_of(shard), {documents, counts, z}, topics, scratch);
    }
  }

  double entropy(const Shard& shard, std::uint32_t word) const {
    return kernels::topic_entropy(shard.words.counts_of(word), shard.z.data() + shard.words.first(word) * width(),
                                  width());
  }

  double documents_bound(const Shard& shard) const {
    double alpha_terms = 0, alpha_sum = 0;
    for (std::size_t k = 0; k < n_topics(); ++k) {
      alpha_terms += log_gamma(static_cast<double>(alpha_[k]));
      alpha_sum += static_cast<double>(alpha_[k]);
    }
    const double nothing = alpha_terms - log_gamma(alpha_sum);
    double bound = 0;
    for (std::size_t d = 0; d < shard.n_documents; ++d) {
      double terms = 0, sum = 0;
      for (std::size_t k = 0; k < n_topics(); ++k) {
        const auto gamma = static_cast<double>(std::max(shard.gamma[d * stride_ + k], alpha_[k]));
        terms += log_gamma(gamma);
        sum += gamma;
      }
      bound += terms - log_gamma(sum) - nothing;
    }
    return bound;
  }

  // gamma from z.
  void resum(Shard& shard) const {
    clear(shard);
    for (std::size_t v = 0; v < n_tokens(); ++v) {
      for (std::size_t e = shard.words.first(v); e < shard.words.first(v) + shard.words.count(v); ++e) {
        T* const gamma = shard.gamma.data() + static_cast<std::size_t>(shard.words.documents[e]) * stride_;
        const T count = shard.words.counts[e];
        for (std::size_t i = 0; i < width(); ++i) {
          const std::size_t k = settings_.kept > 0 ? shard.topics[e * width() + i] : i;
          gamma[k] += count * kernels::Share<T>::read(shard.z[e * width() + i]);
        }
      }
    }
  }

  void clear(Shard& shard) const {
    for (std::size_t d = 0; d < shard.n_documents; ++d) std::ranges::copy(alpha_, &shard.gamma[d * stride_]);
  }

  TopicSettings settings_;
  TopicPriors priors_;
  TopicStart start_;
  std::size_t stride_;
  AlignedVector<T> alpha_;  // padded
  AlignedVector<T> noise_;  // rows of it; empty with a start
  std::vector<double> start_totals_;
};

template <class T>
DocumentShard<T> LatentDirichletProblem<T>::make_shard(CsrView<T> documents, std::uint64_t first_document) const {
  Shard shard;
  shard.words = word_columns(documents);
  shard.first_document = first_document;
  shard.n_documents = documents.rows();
  shard.gamma.resize(shard.n_documents * stride_);
  clear(shard);
  shard.z.resize(shard.words.documents.size() * width());
  if (settings_.kept > 0) shard.topics.resize(shard.z.size());
  shard.best.resize(settings_.kept);
  shard.scratch.resize(kScratchRows * stride_ + settings_.kept);
  return shard;
}

static_assert(TokenProblem<LatentDirichletProblem<float>> && TokenProblem<LatentDirichletProblem<double>>);

}  // namespace steppe
