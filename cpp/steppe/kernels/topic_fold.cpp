#include "steppe/kernels/topic_fold.hpp"

#include <algorithm>
#include <limits>

#include "steppe/core/macros.hpp"

namespace steppe::kernels {
namespace {

template <class T>
[[gnu::always_inline]] inline void fold(const SparseRow<T>& words, const T* topics, std::size_t stride,
                                        const T* __restrict theta, T* __restrict counts) {
  std::fill_n(counts, stride, T(0));
  for (std::size_t n = 0; n < words.size(); ++n) {
    const T* __restrict const row = topics + static_cast<std::size_t>(words.indices[n]) * stride;
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::size_t k = 0; k < stride; ++k) sum += theta[k] * row[k];
    if (!(sum >= std::numeric_limits<T>::min())) continue;
    const T scale = words.values[n] / sum;
#pragma omp simd
    for (std::size_t k = 0; k < stride; ++k) counts[k] += scale * row[k];
  }
#pragma omp simd
  for (std::size_t k = 0; k < stride; ++k) counts[k] *= theta[k];
}

}  // namespace

STEPPE_MULTIVERSION void fold_document(const SparseRow<float>& words, const float* topics, std::size_t stride,
                                       const float* theta, float* counts) {
  fold(words, topics, stride, theta, counts);
}
STEPPE_MULTIVERSION void fold_document(const SparseRow<double>& words, const double* topics, std::size_t stride,
                                       const double* theta, double* counts) {
  fold(words, topics, stride, theta, counts);
}

}  // namespace steppe::kernels
