#include "steppe/kernels/ranking_loss.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "steppe/core/macros.hpp"

namespace steppe::kernels {

void discount_sums(std::span<double> sums) {
  double sum = 0;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    if (i > 0) sum += 1 / std::log2(static_cast<double>(i) + 1);
    sums[i] = sum;
  }
}

double expected_dcg(std::span<const double> scores, std::span<const double> gains, std::size_t k,
                    std::span<const double> sums, std::span<std::uint32_t> order) {
  const std::size_t n = scores.size();
  std::iota(order.begin(), order.end(), std::uint32_t{0});
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
  double dcg = 0;
  for (std::size_t begin = 0, end = 0; begin < std::min(n, k); begin = end) {
    double gain = gains[order[begin]];
    for (end = begin + 1; end < n && scores[order[end]] == scores[order[begin]]; ++end) gain += gains[order[end]];
    dcg += gain / static_cast<double>(end - begin) * (sums[std::min(end, k)] - sums[begin]);
  }
  return dcg;
}

double warp_hinge(std::span<const double> phi, std::span<const double> better, std::span<const double> worse,
                  double weight, double margin, std::span<double> gradient) {
  double excess = margin;
  for (std::size_t r = 0; r < phi.size(); ++r) excess += phi[r] * (worse[r] - better[r]);
  if (excess <= 0) return 0;
  for (std::size_t r = 0; r < phi.size(); ++r) gradient[r] += weight * (worse[r] - better[r]);
  return weight * excess;
}

STEPPE_MULTIVERSION Violators violators(std::span<const double> scores, double limit) {
  double count = 0, excess = 0;
  const double* const from = scores.data();
#pragma omp simd reduction(+ : count, excess)
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const double over = from[i] - limit;
    count += over > 0 ? 1.0 : 0.0;
    excess += over > 0 ? over : 0.0;
  }
  return {static_cast<std::size_t>(count), excess};
}

}  // namespace steppe::kernels
