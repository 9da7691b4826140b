#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "cuda/blocks_on_host.hpp"
// Device code, with the names of the header above.
#include "cuda/folds.cuh"
#include "cuda/rows.cuh"
#include "cuda/site_rows.hpp"
#include "cuda/sweep.cuh"
#include "steppe/core/aligned.hpp"
#include "steppe/models/ot/site_pack.hpp"

using namespace steppe;
using namespace steppe::cuda;

namespace {

// Rows `gap` numbers further apart than they are long. Whole numbers of few bits: sums are exact in any order, so that
// ties are ties everywhere.
template <class T>
struct Problem {
  std::size_t n, m, d, stride;
  std::vector<T> x, sites, weights;
  std::vector<double> potential;

  Problem(std::size_t rows, std::size_t n_sites, std::size_t features, std::size_t gap, bool whole)
      : n(rows), m(n_sites), d(features), stride(features + gap), x(rows * stride + gap), sites(n_sites * features),
        weights(rows), potential(n_sites) {
    std::mt19937 random(static_cast<unsigned>(n + m + d));
    std::uniform_int_distribution<int> few(-2, 2);
    std::normal_distribution<double> normal;
    const auto draw = [&] { return static_cast<T>(whole ? few(random) : normal(random)); };
    for (T& value : x) value = draw();
    for (T& value : sites) value = draw();
    for (T& value : weights) value = static_cast<T>(std::abs(normal(random)));
    for (double& value : potential) value = whole ? few(random) : normal(random);
  }
  MatrixView<const T> rows() const { return {x.data() + (stride - d), n, d, stride}; }
  SitePack<T> pack(bool squared) const {
    SitePack<T> made(MatrixView<const T>(sites.data(), m, d), squared);
    made.set_potential(potential);
    return made;
  }
};

template <class T>
struct OnHost {
  SiteRows<T> rows;
  explicit OnHost(const kernels::SitesView<T>& sites) { rows.take(sites); }
  Places<T> places() const {
    const auto depth = static_cast<std::int64_t>(rows.depth);
    return {{rows.values.data(), static_cast<std::int64_t>(rows.n_sites), depth, static_cast<int>(depth), true},
            rows.offsets.data(),
            rows.centre.data(),
            rows.scale};
  }
};

template <class Form, class Fold, class T>
void run_sweep(MatrixView<const T> x, const Places<T>& places, const Fold& fold, unsigned blocks) {
  const Operand<T> rows = operand(x);
  on_host::run({blocks}, {kThreads}, [&] { sweep<Form, Fold>(rows, places, fold); });
}

constexpr std::tuple<std::size_t, std::size_t, std::size_t, std::size_t> kShapes[] = {
    {1, 1, 1, 0}, {7, 3, 2, 1}, {129, 130, 9, 0}, {300, 70, 16, 0}, {70, 260, 20, 3}};

template <class Form>
void check_labels(bool squared) {
  using T = typename Form::Scalar;
  for (const auto& [n, m, d, gap] : kShapes) {
    const Problem<T> problem(n, m, d, gap, true);
    const SitePack<T> pack = problem.pack(squared);
    AlignedVector<T> scratch(kernels::assign_scratch<T>(d));
    std::vector<std::int32_t> expected(n), labels(n, -1);
    kernels::assign_rows<T>(problem.rows(), pack.view(), expected, scratch.data());
    const OnHost<T> sites(pack.view());
    run_sweep<Form>(problem.rows(), sites.places(), Nearest<Form>{static_cast<std::int64_t>(n), labels.data()}, 2);
    CHECK(labels == expected);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("a sweep finds the cells of the CPU, ties and all", T, float, double) {
  check_labels<Products<T>>(true);
  check_labels<Differences<T>>(false);
}

TEST_CASE("a sweep by fragments of tensor cores finds the cells of the CPU") { check_labels<TensorProducts>(true); }

TEST_CASE("products of tensor cores are off by what their header says, and no more") {
  constexpr std::size_t n = 150, m = 40, d = 24;
  const Problem<float> problem(n, m, d, 0, false);
  const SitePack<float> pack = problem.pack(true);
  const OnHost<float> sites(pack.view());
  std::vector<std::int32_t> labels(n);
  using Fold = Nearest<TensorProducts>;
  run_sweep<TensorProducts>(problem.rows(), sites.places(), Fold{n, labels.data()}, 2);
  const auto score = [&](std::size_t i, std::size_t j, double& reach) {
    double product = 0, x_size = 0, y_size = 0;
    for (std::size_t k = 0; k < d; ++k) {
      const double x = problem.rows()(i, k) * sites.rows.scale - sites.rows.centre[k];
      const double y = sites.rows.values[j * sites.rows.depth + k];
      product += x * y;
      x_size += x * x;
      y_size += y * y;
    }
    reach = std::max(reach, std::sqrt(x_size * y_size));
    return product + sites.rows.offsets[j];
  };
  for (std::size_t i = 0; i < n; ++i) {
    double least = std::numeric_limits<double>::infinity(), reach = 0;
    for (std::size_t j = 0; j < m; ++j) least = std::min(least, score(i, j, reach));
    // A score is half a cost: each of the two that are compared may be off by half of the bound.
    CHECK(score(i, static_cast<std::size_t>(labels[i]), reach) - least <= std::ldexp(1 + d * 0x1p-14, -9) * reach);
  }
}

TEST_CASE_TEMPLATE("a sweep's soft sums are the CPU's", T, float, double) {
  const double close = sizeof(T) == 4 ? 1e-5 : 1e-12;
  const auto check = [&]<class Form>(Form, bool squared) {
    for (const auto& [n, m, d, gap] : kShapes) {
      const Problem<T> problem(n, m, d, gap, false);
      const SitePack<T> pack = problem.pack(squared);
      const auto view = pack.view();
      const T steepness = pack.steepness(0.7);
      AlignedVector<T> scratch(kernels::spread_scratch(view));
      std::vector<double> expected_mass(m);
      kernels::SpreadSums expected;
      expected.mass = expected_mass;
      kernels::spread_rows<T>(problem.rows(), problem.weights.data(), view, steepness, expected, scratch.data());

      constexpr unsigned blocks = 2;
      const OnHost<T> sites(view);
      const auto rows = static_cast<std::int64_t>(n), padded = static_cast<std::int64_t>(sites.rows.offsets.size());
      std::vector<T> least(n), factor(n);
      std::vector<double> sums(blocks * kThreads * 2), masses(blocks * sites.rows.offsets.size()), totals(m);
      SoftMinimum<Form> minimum{rows, steepness, problem.weights.data(), 1, least.data(), factor.data(), sums.data()};
      run_sweep<Form>(problem.rows(), sites.places(), minimum, blocks);
      const Shares<Form> shares{rows, padded, steepness, least.data(), factor.data(), masses.data()};
      run_sweep<Form>(problem.rows(), sites.places(), shares, blocks);
      on_host::run({2}, {kThreads}, [&] {
        sum_over_blocks(masses.data(), blocks, padded, static_cast<std::int64_t>(m), totals.data());
      });
      double score = 0, log_sum = 0;
      for (std::size_t k = 0; k < sums.size(); k += 2) {
        score += sums[k];
        log_sum += sums[k + 1];
      }
      const double scale = static_cast<double>(n);
      for (std::size_t j = 0; j < m; ++j) CHECK(std::abs(totals[j] - expected.mass[j]) <= close * scale);
      CHECK(std::abs(score - expected.score) <= close * (scale + std::abs(expected.score)));
      CHECK(std::abs(log_sum - expected.log_sum) <= close * (scale + std::abs(expected.log_sum)));
    }
  };
  check(Products<T>(), true);
  check(Differences<T>(), false);
}

TEST_CASE("costs of cells, one warp a row") {
  const Problem<float> problem(21, 5, 70, 3, false);
  std::vector<std::int32_t> labels(21);
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int32_t>(i % 5);
  for (const bool squared : {true, false}) {
    std::vector<float> costs(21, -1);
    on_host::run({3}, {kThreads}, [&] {
      cost_of_each<float>(problem.rows().data(), 21, 73, 70, problem.sites.data(), 70, problem.potential.data(),
                          squared, labels.data(), costs.data());
    });
    for (std::size_t i = 0; i < 21; ++i) {
      const auto j = static_cast<std::size_t>(labels[i]);
      double square = 0;
      for (std::size_t k = 0; k < 70; ++k)
        square += std::pow(problem.rows()(i, k) - double{problem.sites[j * 70 + k]}, 2);
      CHECK(costs[i] == doctest::Approx((squared ? square : std::sqrt(square)) - problem.potential[j]).epsilon(1e-6));
    }
  }
}

TEST_CASE("what is not finite is found wherever it is, and nothing between rows") {
  Problem<double> problem(40, 1, 300, 2, false);
  const auto found = [&](Dim grid) {
    int met = 0;
    on_host::run(grid, {1}, [&] { find_not_finite<double>(problem.rows().data(), 40, 302, 300, &met); });
    return met;
  };
  problem.x[1] = std::nan("");  // before the first row
  CHECK(found({2, 3}) == 0);
  for (const std::size_t at : {std::size_t{2}, std::size_t{2 + 302 * 39 + 299}, std::size_t{5000}}) {
    const double before = std::exchange(problem.x[at], std::numeric_limits<double>::infinity());
    CHECK(found({2, 3}) == 1);
    problem.x[at] = before;
  }
}

TEST_CASE("rows of labels") {
  const std::vector<float> sites{1, 2, 3, 4, 5, 6};
  const std::vector<std::int32_t> labels{2, 0, 0, 1};
  std::vector<float> taken(8);
  on_host::run({1, 3}, {2}, [&] { take_each<float>(sites.data(), 2, labels.data(), 4, 2, taken.data()); });
  CHECK(taken == std::vector<float>{5, 6, 1, 2, 1, 2, 3, 4});
}
