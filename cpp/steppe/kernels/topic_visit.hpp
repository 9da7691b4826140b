#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace steppe::kernels {

// The topics z of an entry, a point of the simplex, as they are stored: one z for each (document, word) is what fills
// memory and what a pass has to stream. For float it is fixed point with 15 bits after the point: the error is at most
// 2^-16 = 1.5e-5 (bfloat16 would err by 2e-3 near one, half precision by 2.4e-4), zero and one are exact, and so are
// sums of z in float up to 512. For double it is double: the reference.
template <class T>
struct Share;
template <>
struct Share<float> {
  using Stored = std::uint16_t;
  static constexpr float kOne = 32768.0f;
  [[gnu::always_inline]] static float read(Stored q) {
    return static_cast<float>(static_cast<std::int32_t>(q)) * (1.0f / kOne);
  }
  [[gnu::always_inline]] static Stored write(float z) {
    // z is not negative, and lround would be a call.
    return static_cast<Stored>(static_cast<std::int32_t>(z * kOne + 0.5f));  // NOLINT(bugprone-incorrect-roundings)
  }
};
template <>
struct Share<double> {
  using Stored = double;
  [[gnu::always_inline]] static double read(Stored z) { return z; }
  [[gnu::always_inline]] static Stored write(double z) { return z; }
};

// The documents of a shard. Document d has gamma[d * stride .. + stride) = alpha + sum over its entries of count * z,
// padded with zeros (alpha too) up to the stride, which is a multiple of a cache line.
template <class T>
struct TopicDocuments {
  T* gamma;
  const T* alpha;
  std::size_t stride;
};

// The entries of one word in those documents, each a document of its own, with their z: `stride` numbers each.
template <class T>
struct WordEntries {
  std::span<const std::int32_t> documents;
  std::span<const T> counts;
  typename Share<T>::Stored* z;
};

// The same where only the largest topics of each entry are kept: their numbers and z, `kept` each. Places that are not
// used have z = 0.
template <class T>
struct TruncatedEntries {
  std::span<const std::int32_t> documents;
  std::span<const T> counts;
  std::uint16_t* topics;
  typename Share<T>::Stored* z;
  std::size_t kept;
};

// The word as a visit finds it, each of `stride` numbers: lambda = eta + sum over all of its entries of count * z, and
// the totals, which are the sums of lambda over all words; padded with eta and its total. Both stay as they are; what
// the visit adds to both is added to `change`.
template <class T>
struct WordTopics {
  const T* lambda;
  const T* totals;
  T* change;
  T eta;        // prior of this word
  T eta_total;  // sum of the priors of all words
};

// Factors of z' that break the symmetry between topics in a first pass: an entry takes one of 2^bits rows of `stride`
// positive numbers, by a hash of its document and of `key`, which the caller makes from the word.
template <class T>
struct TopicNoise {
  const T* rows = nullptr;  // null: no noise
  std::uint32_t bits = 1, key = 0;

  std::size_t row_of(std::int32_t document) const noexcept {
    return ((static_cast<std::uint32_t>(document) ^ key) * 0x9E3779B1u) >> (32 - bits);
  }
};

// One pass of zero-order collapsed variational inference (Asuncion, Welling, Smyth and Teh, 2009) over the entries of a
// word. With z the entry's own:
//
//   z' ~ max(gamma_d - z, alpha) max(lambda_v - z, eta) / max(total - z, eta_total),    sum z' = 1
//
// then gamma_d, lambda_v and the totals are moved by count (z' - z). Lambda and totals are those from before each four
// entries; the last ones, fewer than four, go one by one. The bounds hold against rounding, and the last against totals
// that other workers have changed meanwhile.
// `scratch` holds kVisitScratch * stride numbers.
inline constexpr std::size_t kVisitScratch = 4;
void collapsed_visit(const TopicDocuments<float>& documents, const WordEntries<float>& entries,
                     const WordTopics<float>& word, const TopicNoise<float>& noise, float* scratch);
void collapsed_visit(const TopicDocuments<double>& documents, const WordEntries<double>& entries,
                     const WordTopics<double>& word, const TopicNoise<double>& noise, double* scratch);

// One pass of mean field (Raman et al., "Extreme stochastic variational inference", 2019) over the entries of a word:
//
//   z' ~ exp(digamma(gamma_d) + digamma(lambda_v) - digamma(total)),    sum z' = 1
//
// with lambda and totals from before each 32 entries: each step is still one of coordinate ascent on the bound. An
// entry whose z' underflows in every topic keeps its z. `scratch` as above.
void mean_field_visit(const TopicDocuments<float>& documents, const WordEntries<float>& entries,
                      const WordTopics<float>& word, float* scratch);
void mean_field_visit(const TopicDocuments<double>& documents, const WordEntries<double>& entries,
                      const WordTopics<double>& word, double* scratch);

// Either of the two where an entry keeps the `kept` largest topics, which share its mass in proportion; of equal ones
// the first. Here every entry sees lambda as the one before it left it (collapsed), or every 32 do (mean field).
template <class T>
struct TruncatedScratch {
  T* numbers;            // 3 * stride + kept
  std::int32_t* topics;  // kept
};
void truncated_visit(const TopicDocuments<float>& documents, const TruncatedEntries<float>& entries,
                     const WordTopics<float>& word, const TopicNoise<float>& noise, bool collapsed,
                     const TruncatedScratch<float>& scratch);
void truncated_visit(const TopicDocuments<double>& documents, const TruncatedEntries<double>& entries,
                     const WordTopics<double>& word, const TopicNoise<double>& noise, bool collapsed,
                     const TruncatedScratch<double>& scratch);

// The sum over entries of count * (- sum z log z), with `width` numbers z an entry.
double topic_entropy(std::span<const float> counts, const std::uint16_t* z, std::size_t width);
double topic_entropy(std::span<const double> counts, const double* z, std::size_t width);

}  // namespace steppe::kernels
