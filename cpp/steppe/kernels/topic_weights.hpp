#pragma once

#include <cstddef>
#include <limits>

#include "steppe/kernels/gamma_functions.hpp"
#include "steppe/kernels/topic_visit.hpp"

namespace steppe::kernels {

// Mean field in two factors: what depends on the word is reckoned once for kWordRefresh entries.
inline constexpr std::size_t kWordRefresh = 32;

// p = exp(digamma(gamma)) * weights; their sum.
template <class T>
[[gnu::always_inline]] inline T mean_field_weights(const T* __restrict gamma, const T* __restrict alpha,
                                                   const T* __restrict weights, std::size_t stride, T* __restrict p) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::size_t k = 0; k < stride; ++k) {
    const T weight = exp_digamma(gamma[k] < alpha[k] ? alpha[k] : gamma[k]) * weights[k];
    p[k] = weight;
    sum += weight;
  }
  return sum;
}

// weights = exp(digamma(lambda) - digamma(totals)).
template <class T>
[[gnu::always_inline]] inline void expect_word(const WordTopics<T>& word, std::size_t stride, T* __restrict weights) {
  const T* __restrict const lambda = word.lambda;
  const T* __restrict const totals = word.totals;
  const T* __restrict const change = word.change;
  const T eta = word.eta, eta_total = word.eta_total;
  constexpr T kLeast = std::numeric_limits<T>::min();
#pragma omp simd
  for (std::size_t k = 0; k < stride; ++k) {
    const T own = lambda[k] + change[k], all = totals[k] + change[k];
    const T total = exp_digamma(all < eta_total ? eta_total : all);
    weights[k] = exp_digamma(own < eta ? eta : own) / (total < kLeast ? kLeast : total);
  }
}

}  // namespace steppe::kernels
