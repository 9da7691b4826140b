#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "steppe/core/errors.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/models/metric/gmml.hpp"
#include "system_blas.hpp"

using namespace steppe;

namespace {

[[maybe_unused]] const bool kHaveBlas = use_system_blas();

using Matrix = AlignedVector<double>;

Matrix times(const Matrix& a, const Matrix& b, std::size_t n, Op op_a = Op::none) {
  Matrix c(n * n);
  gemm<double>(op_a, Op::none, 1, {a.data(), n, n}, {b.data(), n, n}, 0, {c.data(), n, n});
  return c;
}

Matrix positive_definite(std::size_t n, std::uint64_t seed) {
  Stream stream(seed, Purpose::data, 0);
  Matrix root(n * n);
  for (double& value : root) value = stream.normal();
  Matrix a = times(root, root, n, Op::transpose);
  for (std::size_t i = 0; i < n; ++i) a[i * n + i] += 0.1;
  return a;
}

Matrix mean(Matrix s, Matrix d, std::size_t n, double t) {
  std::vector<double> values(n);
  geometric_mean(s, d, t, values);
  return times(s, s, n, Op::transpose);
}

double distance(const Matrix& a, const Matrix& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace

TEST_CASE("the mean solves M S M = D, and its ends are S^-1 and D") {
  for (const std::size_t n : {1, 2, 7, 40}) {
    const Matrix s = positive_definite(n, 1), d = positive_definite(n, 2);
    const Matrix m = mean(s, d, n, 0.5);
    CHECK(distance(times(times(m, s, n), m, n), d) < 1e-8);
    CHECK(distance(mean(s, d, n, 1), d) < 1e-9);
    Matrix identity = times(mean(s, d, n, 0), s, n);
    for (std::size_t i = 0; i < n; ++i) identity[i * n + i] -= 1;
    CHECK(distance(identity, Matrix(n * n, 0.0)) < 1e-8);
  }
}

TEST_CASE("commuting matrices: a mean of numbers") {
  const Matrix s{4, 0, 0, 0.25}, d{9, 0, 0, 4};
  const Matrix m = mean(s, d, 2, 0.5);
  CHECK(m[0] == doctest::Approx(std::sqrt(9.0 / 4)));
  CHECK(m[3] == doctest::Approx(std::sqrt(4.0 / 0.25)));
  CHECK(std::abs(m[1]) < 1e-14);
}

TEST_CASE("a singular matrix is bad input that names reg") {
  CHECK_THROWS_WITH_AS(mean({1, 0, 0, 0}, {1, 0, 0, 1}, 2, 0.5), doctest::Contains("reg:"), InvalidArgument);
  const double third = 1.0 / 3;  // the second pivot is nothing but rounding
  CHECK_THROWS_WITH_AS(mean({1, third, third, third * third}, {1, 0, 0, 1}, 2, 0.5), doctest::Contains("reg:"),
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(mean({1, 0, 0, 1}, {1, 0, 0, 0}, 2, 0.5), doctest::Contains("reg:"), InvalidArgument);
}
