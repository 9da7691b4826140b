#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/models/recommend/joint_solver.hpp"

using steppe::JointSolver;

namespace {

// n random positive definite systems of one order; the last one is zero.
struct Systems {
  std::size_t order, n;
  std::vector<double> matrices, right, diagonal, reg;

  Systems(std::size_t size, std::size_t count) : order(size), n(count), matrices(n * order * order), right(n * order) {
    steppe::Stream stream(2, steppe::Purpose::data, order);
    for (std::size_t i = 0; i + 1 < n; ++i) {
      for (std::size_t rating = 0; rating < 2 * order; ++rating) add_outer_product(i, stream);
      for (std::size_t f = 0; f < order; ++f) right[i * order + f] = stream.normal();
    }
    for (std::size_t f = 0; f < n * order; ++f) diagonal.push_back(matrices[f * order + f % order]);
    for (std::size_t i = 0; i < n; ++i) reg.push_back(i + 1 < n ? 0.5 + double(i) : 0.0);
  }

  void add_outer_product(std::size_t i, steppe::Stream& stream) {
    std::vector<double> row(order);
    for (double& value : row) value = stream.normal();
    for (std::size_t a = 0; a < order; ++a) {
      for (std::size_t b = 0; b < order; ++b) matrices[(i * order + a) * order + b] += row[a] * row[b];
    }
  }

  std::vector<double> products(const std::vector<double>& x) const {
    std::vector<double> out(x.size());
    for (std::size_t f = 0; f < x.size(); ++f) {
      for (std::size_t b = 0; b < order; ++b) out[f] += matrices[f * order + b] * x[f / order * order + b];
    }
    return out;
  }
};

}  // namespace

TEST_CASE("JointSolver solves all systems, and leaves those that are solved alone") {
  const Systems systems(7, 5);
  int messages = 0;
  JointSolver solver(systems.reg, systems.right, systems.diagonal, [&](const std::vector<double>& x) {
    ++messages;
    return systems.products(x);
  });
  std::vector<double> x(systems.right.size());
  solver.solve(x, {100, 1e-12});
  const auto image = systems.products(x);
  for (std::size_t f = 0; f < x.size(); ++f) {
    CHECK(image[f] + systems.reg[f / systems.order] * x[f] == doctest::Approx(systems.right[f]).epsilon(1e-8));
  }
  CHECK(messages < 30);
  for (std::size_t f = x.size() - systems.order; f < x.size(); ++f) CHECK(x[f] == 0);
}
