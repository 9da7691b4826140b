#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace steppe::kernels {

// sums[i] = sum_{j=1..i} 1 / log2(j + 1): what the first i places of a list are worth. Discounts of DCG, and the weight
// L(i) that WARP gives to a rank. sums[0] = 0.
void discount_sums(std::span<double> sums);

// Discounted cumulative gain of the first k places when documents are ranked by falling score. Documents of equal score
// share their places: the mean over all their orders. `sums` as above, of min(k, size) + 1 numbers or more; `order` is
// scratch, one for each document. Scores are not NaN.
double expected_dcg(std::span<const double> scores, std::span<const double> gains, std::size_t k,
                    std::span<const double> sums, std::span<std::uint32_t> order);

// Weight * (margin + f(worse) - f(better))_+ of the linear score f(p) = phi . p; adds its gradient in phi to
// `gradient`.
double warp_hinge(std::span<const double> phi, std::span<const double> better, std::span<const double> worse,
                  double weight, double margin, std::span<double> gradient);

struct Violators {
  std::size_t count = 0;
  double excess = 0;
};

// How many scores exceed `limit`, and by how much in all.
Violators violators(std::span<const double> scores, double limit);

}  // namespace steppe::kernels
