#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/kernels/ranking_loss.hpp"

using namespace steppe;

namespace {

std::vector<double> sums(std::size_t n) {
  std::vector<double> out(n + 1);
  kernels::discount_sums(out);
  return out;
}

double dcg(const std::vector<double>& scores, const std::vector<double>& gains, std::size_t k) {
  std::vector<std::uint32_t> order(scores.size());
  return kernels::expected_dcg(scores, gains, k, sums(std::min(k, scores.size())), order);
}

// The mean over all permutations in which the scores do not rise.
double dcg_by_permutations(const std::vector<double>& scores, const std::vector<double>& gains, std::size_t k) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  double total = 0, count = 0;
  do {
    if (!std::is_sorted(order.begin(), order.end(), [&](auto a, auto b) { return scores[a] > scores[b]; })) continue;
    for (std::size_t i = 0; i < std::min(k, order.size()); ++i) {
      total += gains[order[i]] / std::log2(static_cast<double>(i) + 2);
    }
    ++count;
  } while (std::next_permutation(order.begin(), order.end()));
  return total / count;
}

}  // namespace

TEST_CASE("discounts sum up from nothing") {
  CHECK(sums(3) == std::vector<double>{0, 1, 1 + 1 / std::log2(3.0), 1 + 1 / std::log2(3.0) + 0.5});
}

TEST_CASE("DCG with ties is the mean over the orders of the tied") {
  for (std::uint64_t seed = 0; seed < 30; ++seed) {
    Stream stream(seed, Purpose::data, 0);
    const std::size_t n = 1 + stream.below(6);
    std::vector<double> scores(n), gains(n);
    for (std::size_t i = 0; i < n; ++i) {
      scores[i] = stream.below(3);
      gains[i] = stream.below(4);
    }
    for (const std::size_t k : {1, 2, 4, 10}) {
      CHECK(dcg(scores, gains, k) == doctest::Approx(dcg_by_permutations(scores, gains, k)));
    }
  }
}

TEST_CASE("the hinge of WARP has the gradient that finite differences say, and none inside the margin") {
  const std::vector<double> better{0.3, 0.9, 0.1}, worse{0.8, 0.2, 0.4}, phi{0.2, 0.5, 0.7};
  std::vector<double> gradient(3, 1.0), unused(3);
  const double loss = kernels::warp_hinge(phi, better, worse, 1.7, 1, gradient);
  double excess = 1;
  for (std::size_t r = 0; r < 3; ++r) excess += phi[r] * (worse[r] - better[r]);
  CHECK(loss == doctest::Approx(1.7 * excess));
  for (std::size_t r = 0; r < 3; ++r) {
    const double h = 1e-6;
    std::vector<double> up = phi, down = phi;
    up[r] += h;
    down[r] -= h;
    const double slope = (kernels::warp_hinge(up, better, worse, 1.7, 1, unused) -
                          kernels::warp_hinge(down, better, worse, 1.7, 1, unused)) /
                         (2 * h);
    CHECK(gradient[r] - 1 == doctest::Approx(slope).epsilon(1e-6));
  }
  std::vector<double> still(3, 0.0);
  CHECK(kernels::warp_hinge(std::vector<double>{0, 10, 0}, better, worse, 1, 1, still) == 0);
  CHECK(still == std::vector<double>(3, 0.0));
}

TEST_CASE("violators are counted and summed") {
  const std::vector<double> scores{0.5, -1, 2, 0.25, 0.5};
  const auto found = kernels::violators(scores, 0.25);
  CHECK(found.count == 3);
  CHECK(found.excess == doctest::Approx(0.25 + 1.75 + 0.25));
  CHECK(kernels::violators({}, 0).count == 0);
}
