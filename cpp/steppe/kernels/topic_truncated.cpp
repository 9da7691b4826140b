#include <algorithm>
#include <limits>

#include "steppe/core/macros.hpp"
#include "steppe/kernels/top_k.hpp"
#include "steppe/kernels/topic_visit.hpp"
#include "steppe/kernels/topic_weights.hpp"

namespace steppe::kernels {
namespace {

// p ~ z' of an entry, from its own z.
template <class T>
[[gnu::always_inline]] inline T collapsed_weights(const T* __restrict gamma, const T* __restrict alpha,
                                                  const WordTopics<T>& word, const T* __restrict own,
                                                  const T* __restrict noise, std::size_t stride, T* __restrict p) {
  const T* __restrict const lambda = word.lambda;
  const T* __restrict const totals = word.totals;
  const T* __restrict const change = word.change;
  const T eta = word.eta, eta_total = word.eta_total;
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t k = 0; k < stride; ++k) {
    const T of_document = gamma[k] - own[k], others = change[k] - own[k];
    const T of_word = lambda[k] + others, of_all = totals[k] + others;
    const T weight = (of_document < alpha[k] ? alpha[k] : of_document) * (of_word < eta ? eta : of_word) /
                     (of_all < eta_total ? eta_total : of_all) * noise[k];
    p[k] = weight;
    sum += weight;
  }
  return sum;
}

// Puts the best topics in the place of those of entry n.
template <class T>
[[gnu::always_inline]] inline void replace(const TruncatedEntries<T>& entries, std::size_t n, const Best<T>& best,
                                           T* gamma, T* change) {
  auto* const topics = entries.topics + n * entries.kept;
  auto* const z = entries.z + n * entries.kept;
  const T count = entries.counts[n];
  T sum = 0;
  for (std::size_t i = 0; i < entries.kept; ++i) sum += best.scores[i];
  for (std::size_t i = 0; i < entries.kept; ++i) {
    const T before = count * Share<T>::read(z[i]);
    gamma[topics[i]] -= before;
    change[topics[i]] -= before;
  }
  for (std::size_t i = 0; i < entries.kept; ++i) {
    topics[i] = static_cast<std::uint16_t>(best.items[i]);
    z[i] = Share<T>::write(best.scores[i] / sum);
    const T now = count * Share<T>::read(z[i]);
    gamma[topics[i]] += now;
    change[topics[i]] += now;
  }
}

template <class T>
[[gnu::always_inline]] inline void visit(const TopicDocuments<T>& documents, const TruncatedEntries<T>& entries,
                                         const WordTopics<T>& word, const TopicNoise<T>& noise, bool collapsed,
                                         const TruncatedScratch<T>& scratch) {
  const std::size_t stride = documents.stride;
  T* const own = scratch.numbers;  // zeros but for the entry at hand
  T* const p = scratch.numbers + stride;
  T* const weights = scratch.numbers + 2 * stride;
  std::fill_n(own, stride, T(0));
  std::fill_n(weights, stride, T(1));  // without noise
  const Best<T> best{{scratch.numbers + 3 * stride, entries.kept}, {scratch.topics, entries.kept}};
  for (std::size_t n = 0; n < entries.documents.size(); ++n) {
    T* const gamma = documents.gamma + static_cast<std::size_t>(entries.documents[n]) * stride;
    const auto* const topics = entries.topics + n * entries.kept;
    const auto* const z = entries.z + n * entries.kept;
    T sum;
    if (collapsed) {
      for (std::size_t i = 0; i < entries.kept; ++i) own[topics[i]] += Share<T>::read(z[i]);
      const T* row = noise.rows == nullptr ? weights : noise.rows + noise.row_of(entries.documents[n]) * stride;
      sum = collapsed_weights(gamma, documents.alpha, word, own, row, stride, p);
      for (std::size_t i = 0; i < entries.kept; ++i) own[topics[i]] = 0;
    } else {
      if (n % kWordRefresh == 0) expect_word(word, stride, weights);
      sum = mean_field_weights(gamma, documents.alpha, weights, stride, p);
    }
    if (!(sum >= std::numeric_limits<T>::min())) continue;
    std::ranges::fill(best.scores, -std::numeric_limits<T>::infinity());
    std::ranges::fill(best.items, -1);
    select_best(std::span<const T>(p, stride), 0, best);
    replace(entries, n, best, gamma, word.change);
  }
}

}  // namespace

STEPPE_MULTIVERSION void truncated_visit(const TopicDocuments<float>& documents, const TruncatedEntries<float>& entries,
                                         const WordTopics<float>& word, const TopicNoise<float>& noise, bool collapsed,
                                         const TruncatedScratch<float>& scratch) {
  visit(documents, entries, word, noise, collapsed, scratch);
}
STEPPE_MULTIVERSION void truncated_visit(const TopicDocuments<double>& documents,
                                         const TruncatedEntries<double>& entries, const WordTopics<double>& word,
                                         const TopicNoise<double>& noise, bool collapsed,
                                         const TruncatedScratch<double>& scratch) {
  visit(documents, entries, word, noise, collapsed, scratch);
}

}  // namespace steppe::kernels
