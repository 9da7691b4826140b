#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/kernels/row_solver.hpp"

using namespace steppe;

namespace {

// A row's ratings, and the naive sums of its normal equations in double.
template <class T>
struct Row {
  std::size_t k, stride, order;
  bool biases;
  AlignedVector<T> factors;
  std::vector<T> bias, values;
  std::vector<std::int32_t> indices;
  AlignedVector<T> matrix, right, tile, scratch, x;
  std::vector<double> expected_matrix, expected_right;

  Row(std::size_t n_factors, std::size_t n_ratings, bool with_biases)
      : k(n_factors), stride(padded<T>(k)), order(padded<T>(k + (with_biases ? 1 : 0))), biases(with_biases),
        factors((3 * n_ratings + 1) * stride), bias(3 * n_ratings + 1), matrix(order * order, T(7)), right(order, T(7)),
        tile(kernels::kTileRows * stride), scratch(5 * order), x(order), expected_matrix(order * order),
        expected_right(order) {
    Stream stream(9, Purpose::data, k, static_cast<std::uint32_t>(n_ratings));
    for (std::size_t i = 0; i < bias.size(); ++i) {
      for (std::size_t f = 0; f < k; ++f) factors[i * stride + f] = static_cast<T>(stream.normal());
      bias[i] = static_cast<T>(stream.normal());
    }
    for (std::size_t r = 0; r < n_ratings; ++r) {
      indices.push_back(static_cast<std::int32_t>(3 * r + 1));
      values.push_back(static_cast<T>(stream.normal()));
    }
    for (std::size_t r = 0; r < n_ratings; ++r) add_naively(r);
    const kernels::RatedRows<T> rated{factors.data(), biases ? bias.data() : nullptr, stride, indices, values, T(0.25)};
    kernels::form_normal_equations<T>(rated, equations(), tile);
  }

  void add_naively(std::size_t r) {
    const auto i = static_cast<std::size_t>(indices[r]);
    std::vector<double> f(order);
    for (std::size_t a = 0; a < k; ++a) f[a] = factors[i * stride + a];
    if (biases) f[k] = 1;
    const double target = double(values[r]) - 0.25 - (biases ? double(bias[i]) : 0.0);
    for (std::size_t a = 0; a < order; ++a) {
      expected_right[a] += target * f[a];
      for (std::size_t b = 0; b < order; ++b) expected_matrix[a * order + b] += f[a] * f[b];
    }
  }

  kernels::NormalEquations<T> equations() { return {matrix.data(), right.data(), order, k}; }

  // Largest entry of the gradient (A + reg) x - b.
  double gradient(double reg, std::size_t a) const {
    double sum = reg * x[a] - expected_right[a];
    for (std::size_t b = 0; b < order; ++b) sum += expected_matrix[a * order + b] * x[b];
    return sum;
  }
};

}  // namespace

TEST_CASE_TEMPLATE("form_normal_equations sums outer products, with and without the border of biases", T, float,
                   double) {
  for (const std::size_t k : {1, 7, 16, 31, 32, 33, 64, 130}) {
    for (const std::size_t n : {0, 1, 5, 32, 75}) {
      for (const bool biases : {false, true}) {
        CAPTURE(k);
        CAPTURE(n);
        const Row<T> row(k, n, biases);
        double worst = 0;
        for (std::size_t i = 0; i < row.matrix.size(); ++i) {
          worst = std::max(worst, std::abs(double(row.matrix[i]) - row.expected_matrix[i]));
        }
        for (std::size_t i = 0; i < row.order; ++i) {
          worst = std::max(worst, std::abs(double(row.right[i]) - row.expected_right[i]));
        }
        CHECK(worst < 500 * std::numeric_limits<T>::epsilon());
      }
    }
  }
}

TEST_CASE_TEMPLATE("conjugate_gradient solves the equations and starts from what it is given", T, float, double) {
  for (const std::size_t k : {4, 32, 100}) {
    for (const bool biases : {false, true}) {
      Row<T> row(k, 2 * k + 5, biases);
      const kernels::SolverLimits exact{200, 10 * double(std::numeric_limits<T>::epsilon())};
      kernels::conjugate_gradient<T>(row.equations(), T(0.5), row.x.data(), exact, row.scratch);
      for (std::size_t a = 0; a < row.order; ++a)
        CHECK(std::abs(row.gradient(0.5, a)) < 3e4 * std::numeric_limits<T>::epsilon());
      for (std::size_t a = k + 1; a < row.order; ++a) CHECK(row.x[a] == T(0));
      const int more = kernels::conjugate_gradient<T>(row.equations(), T(0.5), row.x.data(), {200, 1e-3}, row.scratch);
      CHECK(more < 100);
      for (std::size_t a = 0; a < row.order; ++a)
        CHECK(std::abs(row.gradient(0.5, a)) < 3e4 * std::numeric_limits<T>::epsilon());
    }
  }
}

TEST_CASE_TEMPLATE("conjugate_gradient survives an empty row and a singular matrix", T, float, double) {
  Row<T> empty(32, 0, true);
  CHECK(kernels::conjugate_gradient<T>(empty.equations(), T(0), empty.x.data(), {10, 1e-3}, empty.scratch) == 0);
  Row<T> singular(64, 3, false);
  kernels::conjugate_gradient<T>(singular.equations(), T(0), singular.x.data(), {50, 1e-6}, singular.scratch);
  for (const T value : singular.x) CHECK(std::isfinite(value));
  for (std::size_t a = 0; a < singular.order; ++a) CHECK(std::abs(singular.gradient(0, a)) < 1e-2);
}

TEST_CASE_TEMPLATE("nonnegative_descent meets the conditions of optimality under x >= 0", T, float, double) {
  for (const bool biases : {false, true}) {
    Row<T> row(20, 60, biases);
    const std::size_t free = biases ? row.k : row.order;
    kernels::nonnegative_descent<T>(row.equations(), T(1), free, row.x.data(), 300, row.scratch);
    for (std::size_t a = 0; a < row.k; ++a) {
      CHECK(row.x[a] >= T(0));
      if (row.x[a] > T(0)) CHECK(std::abs(row.gradient(1, a)) < 1e-3);
      if (row.x[a] == T(0)) CHECK(row.gradient(1, a) > -1e-3);
    }
    if (biases) CHECK(std::abs(row.gradient(1, row.k)) < 1e-3);
  }
}

TEST_CASE_TEMPLATE("apply multiplies by A + reg", T, float, double) {
  Row<T> row(33, 50, true);
  AlignedVector<T> out(row.order);
  for (std::size_t a = 0; a < row.k + 1; ++a) row.x[a] = static_cast<T>(a % 5) - T(2);
  kernels::apply<T>(row.equations(), T(2), row.x.data(), out.data());
  for (std::size_t a = 0; a < row.order; ++a) {
    CHECK(std::abs(double(out[a]) - (row.gradient(2, a) + row.expected_right[a])) <
          2e4 * std::numeric_limits<T>::epsilon());
  }
}
