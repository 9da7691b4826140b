#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <tuple>
#include <vector>

#include "cuda/cells.hpp"
#include "steppe/core/aligned.hpp"
#include "steppe/kernels/cells.hpp"
#include "steppe/models/ot/site_pack.hpp"

using namespace steppe;

namespace {

template <class T>
struct Problem {
  std::vector<T> x, sites, weights;
  std::vector<double> potential;
  std::size_t n, m, d;

  Problem(std::size_t n_rows, std::size_t n_sites, std::size_t n_features)
      : x(n_rows * n_features), sites(n_sites * n_features), weights(n_rows), potential(n_sites), n(n_rows), m(n_sites),
        d(n_features) {
    std::mt19937 random(static_cast<unsigned>(n + m + d));
    std::normal_distribution<double> normal;
    for (T& value : x) value = static_cast<T>(normal(random));
    for (T& value : sites) value = static_cast<T>(normal(random));
    for (T& value : weights) value = static_cast<T>(std::abs(normal(random)));
    for (double& value : potential) value = 0.3 * normal(random);
  }
  MatrixView<const T> rows() const { return {x.data(), n, d}; }
  MatrixView<const T> strided(std::size_t stride) const { return {x.data(), (n + stride - 1) / stride, d, d * stride}; }
};

constexpr std::tuple<std::size_t, std::size_t, std::size_t> kShapes[] = {
    {1, 1, 1}, {7, 3, 2}, {129, 130, 9}, {1000, 300, 17}, {300, 1000, 64}, {5000, 128, 128}, {400, 20, 700}};

}  // namespace

TEST_CASE_TEMPLATE("the device's cells are the CPU's", T, float, double) {
  for (const auto& [n, m, d] : kShapes) {
    for (const bool squared : {true, false}) {
      const Problem<T> problem(n, m, d);
      SitePack<T> pack(MatrixView<const T>(problem.sites.data(), m, d), squared);
      pack.set_potential(problem.potential);
      const auto on_device = cuda::upload_rows<T>(problem.rows(), nullptr);
      AlignedVector<T> scratch(kernels::assign_scratch<T>(d));
      for (const std::size_t stride : {1, 3}) {
        const auto rows = problem.strided(stride);
        std::vector<std::int32_t> expected(rows.rows()), labels(rows.rows());
        kernels::assign_rows<T>(rows, pack.view(), expected, scratch.data());
        on_device->assign(pack.view(), stride, labels);
        std::size_t differing = 0;
        for (std::size_t i = 0; i < labels.size(); ++i) differing += labels[i] != expected[i];
        // Sums are in another order: in single precision a row or two may lie on a border.
        CHECK(differing <= (sizeof(T) == 4 ? 1 + n / 1000 : 0));
      }
    }
  }
}

TEST_CASE_TEMPLATE("the device's soft sums are the CPU's, and the same again", T, float, double) {
  const double close = sizeof(T) == 4 ? 2e-4 : 1e-10;
  for (const auto& [n, m, d] : kShapes) {
    for (const bool squared : {true, false}) {
      const Problem<T> problem(n, m, d);
      SitePack<T> pack(MatrixView<const T>(problem.sites.data(), m, d), squared);
      pack.set_potential(problem.potential);
      const auto on_device = cuda::upload_rows<T>(problem.rows(), problem.weights.data());
      const auto view = pack.view();
      AlignedVector<T> scratch(kernels::spread_scratch(view));
      std::vector<double> expected_mass(m), mass(m), again(m);
      kernels::SpreadSums expected, sums, repeated;
      expected.mass = expected_mass;
      sums.mass = mass;
      repeated.mass = again;
      kernels::spread_rows<T>(problem.rows(), problem.weights.data(), view, pack.steepness(0.7), expected,
                              scratch.data());
      on_device->spread(view, 1, pack.steepness(0.7), sums);
      on_device->spread(view, 1, pack.steepness(0.7), repeated);
      CHECK(mass == again);
      const double scale = static_cast<double>(n);
      for (std::size_t j = 0; j < m; ++j) CHECK(std::abs(mass[j] - expected_mass[j]) <= close * scale);
      CHECK(std::abs(sums.score - expected.score) <= close * (scale + std::abs(expected.score)));
      CHECK(std::abs(sums.log_sum - expected.log_sum) <= close * (scale + std::abs(expected.log_sum)));
    }
  }
}
