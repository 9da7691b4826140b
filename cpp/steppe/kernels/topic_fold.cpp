#include "steppe/kernels/topic_fold.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "steppe/core/macros.hpp"
#include "steppe/kernels/gamma_functions.hpp"

namespace steppe::kernels {
namespace {

template <class T>
[[gnu::always_inline]] inline void exp_digamma_all(std::span<const T> x, T* out) {
  const T* const from = x.data();
#pragma omp simd
  for (std::size_t k = 0; k < x.size(); ++k) out[k] = exp_digamma(from[k]);
}

template <class T>
[[gnu::always_inline]] inline T weight_of(const T* __restrict theta, const T* __restrict row, std::size_t stride) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t k = 0; k < stride; ++k) sum += theta[k] * row[k];
  return sum;
}

template <class T>
[[gnu::always_inline]] inline void fold(const SparseRow<T>& words, const T* topics, std::size_t stride,
                                        const T* __restrict theta, T* __restrict counts) {
  std::fill_n(counts, stride, T(0));
  for (std::size_t n = 0; n < words.size(); ++n) {
    const T* __restrict const row = topics + static_cast<std::size_t>(words.indices[n]) * stride;
    const T sum = weight_of(theta, row, stride);
    if (!(sum >= std::numeric_limits<T>::min())) continue;
    const T scale = words.values[n] / sum;
#pragma omp simd
    for (std::size_t k = 0; k < stride; ++k) counts[k] += scale * row[k];
  }
#pragma omp simd
  for (std::size_t k = 0; k < stride; ++k) counts[k] *= theta[k];
}

template <class T>
[[gnu::always_inline]] inline double add(const SparseRow<T>& words, const T* topics, std::size_t stride,
                                         const T* __restrict theta, std::size_t n_topics, double* sums) {
  constexpr T least = std::numeric_limits<T>::min();
  double log_likelihood = 0;
  for (std::size_t n = 0; n < words.size(); ++n) {
    const auto v = static_cast<std::size_t>(words.indices[n]);
    const T* __restrict const row = topics + v * stride;
    const T sum = weight_of(theta, row, stride);
    log_likelihood += static_cast<double>(words.values[n]) * std::log(static_cast<double>(std::max(sum, least)));
    if (!(sum >= least)) continue;
    const T scale = words.values[n] / sum;
    double* __restrict const to = sums + v * n_topics;
#pragma omp simd
    for (std::size_t k = 0; k < n_topics; ++k) to[k] += static_cast<double>(scale * theta[k] * row[k]);
  }
  return log_likelihood;
}

}  // namespace

STEPPE_MULTIVERSION void exp_digamma(std::span<const float> x, float* out) { exp_digamma_all(x, out); }
STEPPE_MULTIVERSION void exp_digamma(std::span<const double> x, double* out) { exp_digamma_all(x, out); }

STEPPE_MULTIVERSION void fold_document(const SparseRow<float>& words, const float* topics, std::size_t stride,
                                       const float* theta, float* counts) {
  fold(words, topics, stride, theta, counts);
}
STEPPE_MULTIVERSION void fold_document(const SparseRow<double>& words, const double* topics, std::size_t stride,
                                       const double* theta, double* counts) {
  fold(words, topics, stride, theta, counts);
}

STEPPE_MULTIVERSION double add_folded(const SparseRow<float>& words, const float* topics, std::size_t stride,
                                      const float* theta, std::size_t n_topics, double* sums) {
  return add(words, topics, stride, theta, n_topics, sums);
}
STEPPE_MULTIVERSION double add_folded(const SparseRow<double>& words, const double* topics, std::size_t stride,
                                      const double* theta, std::size_t n_topics, double* sums) {
  return add(words, topics, stride, theta, n_topics, sums);
}

}  // namespace steppe::kernels
