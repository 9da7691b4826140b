#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/models/topics/documents.hpp"
#include "steppe/models/topics/topic_settings.hpp"
#include "steppe/schedules/concepts.hpp"

namespace steppe {

template <class T>
struct SweptDocuments {
  DocumentRows<T> documents;
  AlignedVector<T> scratch;
};

// Latent Dirichlet allocation for the schedules batch and svi (Blei, Ng and Jordan, JMLR 2003; Hoffman, Blei, Wang and
// Paisley, JMLR 2013): the topics stand still while each document settles,
//
//   z_dv ~ exp(digamma(gamma_d) + digamma(lambda_v) - digamma(total)),    gamma_d = alpha + sum_v count z_dv
//
// by turns, until gamma moves by less than kSettled a topic or kMostTurns have been made; then the words take over the
// sums of count z. A document starts from equal topics every time: from where it was left, which is quicker, it stays
// with the topics that it found early, and the fit ends in far worse optima. So nothing of a document is kept: memory
// is (2 + shards) V K numbers. A token is n_v = lambda_v - eta_v.
template <class T>
class BatchDirichletProblem : public ProblemDefaults<SweptDocuments<T>, double> {
 public:
  using Shard = SweptDocuments<T>;
  static constexpr Pass kTrain = 0;

  static constexpr double kSettled = 1e-3;
  static constexpr std::uint32_t kMostTurns = 100;

  // `n_documents`: over all ranks.
  BatchDirichletProblem(TopicSettings settings, TopicPriors priors, TopicStart start, std::uint64_t n_documents);

  Shard make_shard(CsrView<T> documents, std::uint64_t first_document) const;

  std::uint32_t n_tokens() const { return static_cast<std::uint32_t>(priors_.of_words.size()); }
  std::uint32_t row_size() const { return settings_.n_topics; }
  void init_token(TokenView<double> word, std::uint64_t) const;
  double finish(double parts, std::span<const double>) const;

  std::size_t n_rows(const Shard& shard) const { return shard.documents.size(); }
  double total_weight() const { return static_cast<double>(n_documents_); }
  void begin_step(Bundle<double> all);
  void prepare(Bundle<double> all, std::size_t first, std::size_t last);
  SweepStats sweep(Shard& shard, Bundle<double> all, const RowSample& sample, std::span<double> sums,
                   const VisitContext& context) const;
  void blend(TokenView<double> word, std::span<const double> sums, double rate, double scale) const;
  double token_divergence(TokenView<const double> word) const;

  template <class F>
  static void state(Shard&, F&&) {}

 private:
  std::size_t n_topics() const { return settings_.n_topics; }
  double settle(const SparseRow<T>& words, std::span<T> scratch, std::span<double> sums) const;
  double divergence(std::span<const T> gamma, double total) const;

  TopicSettings settings_;
  TopicPriors priors_;
  TopicStart start_;
  std::uint64_t n_documents_;
  std::size_t stride_;
  AlignedVector<T> alpha_;                        // padded
  AlignedVector<T> topics_;                       // exp(E log phi), a padded row for each word
  std::vector<double> totals_, expected_totals_;  // of the topics, and their digamma
  std::vector<T> scale_;                          // exp(-expected_totals_)
};

extern template class BatchDirichletProblem<float>;
extern template class BatchDirichletProblem<double>;

static_assert(TokenProblem<BatchDirichletProblem<float>> && SumsOverRows<BatchDirichletProblem<float>>);
static_assert(TokenProblem<BatchDirichletProblem<double>> && SumsOverRows<BatchDirichletProblem<double>>);

}  // namespace steppe
