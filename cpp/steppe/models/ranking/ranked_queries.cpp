#include "steppe/models/ranking/ranked_queries.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <tuple>

#include "steppe/kernels/ranking_loss.hpp"

namespace steppe {

template <class T>
std::vector<std::int64_t> canonical_order(MatrixView<const T> x, std::span<const std::int64_t> query,
                                          std::span<const double> grade, std::span<const double> weight) {
  std::vector<std::int64_t> order(x.rows());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::sort(order.begin(), order.end(), [&](std::int64_t first, std::int64_t second) {
    const auto a = static_cast<std::size_t>(first), b = static_cast<std::size_t>(second);
    const auto key_a = std::tie(query[a], grade[a], weight[a]), key_b = std::tie(query[b], grade[b], weight[b]);
    if (key_a != key_b) return key_a < key_b;
    return std::memcmp(x.row(a).data(), x.row(b).data(), x.cols() * sizeof(T)) < 0;
  });
  return order;
}

std::vector<std::uint32_t> count_lower(std::span<const double> grade) {
  std::vector<std::uint32_t> lower(grade.size(), 0);
  for (std::size_t i = 1; i < grade.size(); ++i) {
    lower[i] = grade[i] > grade[i - 1] ? static_cast<std::uint32_t>(i) : lower[i - 1];
  }
  return lower;
}

double exponential_gain(double grade) { return std::exp2(grade) - 1; }

std::vector<double> ndcg_by_query(std::span<const double> scores, std::span<const double> gains,
                                  std::span<const std::int64_t> offsets, std::size_t k, Team& team) {
  const std::size_t n_queries = offsets.size() - 1;
  std::size_t longest = 0;
  for (std::size_t q = 0; q < n_queries; ++q) {
    longest = std::max(longest, static_cast<std::size_t>(offsets[q + 1] - offsets[q]));
  }
  std::vector<double> sums(std::min(longest, k) + 1), ndcg(n_queries);
  kernels::discount_sums(sums);
  team.parallel_for(n_queries, 64, [&](std::size_t first, std::size_t last, std::uint32_t) {
    std::vector<std::uint32_t> order(longest);
    for (std::size_t q = first; q < last; ++q) {
      const auto begin = static_cast<std::size_t>(offsets[q]), n = static_cast<std::size_t>(offsets[q + 1]) - begin;
      const auto gain = gains.subspan(begin, n);
      const auto scratch = std::span(order).first(n);
      const double ideal = kernels::expected_dcg(gain, gain, k, sums, scratch);
      ndcg[q] = ideal > 0 ? kernels::expected_dcg(scores.subspan(begin, n), gain, k, sums, scratch) / ideal
                          : std::numeric_limits<double>::quiet_NaN();
    }
  });
  return ndcg;
}

template std::vector<std::int64_t> canonical_order(MatrixView<const float>, std::span<const std::int64_t>,
                                                   std::span<const double>, std::span<const double>);
template std::vector<std::int64_t> canonical_order(MatrixView<const double>, std::span<const std::int64_t>,
                                                   std::span<const double>, std::span<const double>);

}  // namespace steppe
