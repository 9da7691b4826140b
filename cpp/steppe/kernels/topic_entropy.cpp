#include "steppe/core/macros.hpp"
#include "steppe/kernels/logarithm.hpp"
#include "steppe/kernels/topic_visit.hpp"

namespace steppe::kernels {
namespace {

template <class T>
[[gnu::always_inline]] inline double entropy(std::span<const T> counts, const typename Share<T>::Stored* __restrict z,
                                             std::size_t width) {
  constexpr T kTiny = T(1e-37);  // keeps the logarithm finite where z is 0
  double total = 0;
  for (std::size_t n = 0; n < counts.size(); ++n) {
    const auto* __restrict const row = z + n * width;
    T sum = 0;
#pragma omp simd reduction(- : sum)
    for (std::size_t k = 0; k < width; ++k) {
      const T share = Share<T>::read(row[k]);
      sum -= share * logarithm(share + kTiny);
    }
    total += static_cast<double>(counts[n] * sum);
  }
  return total;
}

}  // namespace

STEPPE_MULTIVERSION double topic_entropy(std::span<const float> counts, const std::uint16_t* z, std::size_t width) {
  return entropy<float>(counts, z, width);
}
STEPPE_MULTIVERSION double topic_entropy(std::span<const double> counts, const double* z, std::size_t width) {
  return entropy<double>(counts, z, width);
}

}  // namespace steppe::kernels
