#include <limits>

#include "steppe/core/macros.hpp"
#include "steppe/kernels/topic_visit.hpp"
#include "steppe/kernels/topic_weights.hpp"

namespace steppe::kernels {
namespace {

constexpr std::size_t kPrefetch = 4;  // entries ahead

template <class T>
[[gnu::always_inline]] inline void prefetch(const TopicDocuments<T>& documents, const WordEntries<T>& entries,
                                            std::size_t n) {
  if (n >= entries.documents.size()) return;
  const T* row = documents.gamma + static_cast<std::size_t>(entries.documents[n]) * documents.stride;
  for (std::size_t k = 0; k < documents.stride; k += 64 / sizeof(T)) __builtin_prefetch(row + k, 1);
}

template <class T>
[[gnu::always_inline]] inline void visit(const TopicDocuments<T>& documents, const WordEntries<T>& entries,
                                         const WordTopics<T>& word, T* __restrict scratch) {
  const std::size_t stride = documents.stride;
  T* __restrict const change = word.change;
  T* __restrict const weights = scratch;
  T* __restrict const p = scratch + stride;
  for (std::size_t n = 0; n < entries.documents.size(); ++n) {
    prefetch(documents, entries, n + kPrefetch);
    if (n % kWordRefresh == 0) expect_word(word, stride, weights);
    auto* __restrict const z = entries.z + n * stride;
    T* __restrict const gamma = documents.gamma + static_cast<std::size_t>(entries.documents[n]) * stride;
    const T sum = mean_field_weights(gamma, documents.alpha, weights, stride, p);
    if (!(sum >= std::numeric_limits<T>::min())) continue;
    const T scale = T(1) / sum, count = entries.counts[n];
#pragma omp simd
    for (std::size_t k = 0; k < stride; ++k) {
      const auto stored = Share<T>::write(p[k] * scale);
      const T delta = count * (Share<T>::read(stored) - Share<T>::read(z[k]));
      z[k] = stored;
      gamma[k] += delta;
      change[k] += delta;
    }
  }
}

}  // namespace

STEPPE_MULTIVERSION void mean_field_visit(const TopicDocuments<float>& documents, const WordEntries<float>& entries,
                                          const WordTopics<float>& word, float* scratch) {
  visit(documents, entries, word, scratch);
}
STEPPE_MULTIVERSION void mean_field_visit(const TopicDocuments<double>& documents, const WordEntries<double>& entries,
                                          const WordTopics<double>& word, double* scratch) {
  visit(documents, entries, word, scratch);
}

}  // namespace steppe::kernels
