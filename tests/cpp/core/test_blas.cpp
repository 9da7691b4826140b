#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "steppe/comm/local_link.hpp"
#include "steppe/core/blas.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/models/metric/itml_session.hpp"
#include "system_blas.hpp"

using namespace steppe;

namespace {

[[maybe_unused]] const bool kHaveBlas = use_system_blas();

std::vector<double> numbers(std::size_t n, std::uint64_t seed) {
  Stream stream(seed, Purpose::data, 0);
  std::vector<double> values(n);
  for (double& value : values) value = stream.normal();
  return values;
}

template <class T>
double element(MatrixView<T> a, Op op, std::size_t i, std::size_t j) {
  return op == Op::none ? a(i, j) : a(j, i);
}

// A + 3 I for A = X X'.
std::vector<double> positive_definite(std::size_t n, std::uint64_t seed) {
  std::vector<double> x = numbers(n * n, seed), a(n * n);
  gemm<double>(Op::none, Op::transpose, 1, {x.data(), n, n}, {x.data(), n, n}, 0, {a.data(), n, n});
  for (std::size_t i = 0; i < n; ++i) a[i * n + i] += 3;
  return a;
}

// Empties the table while it lives.
struct WithoutBlas {
  WithoutBlas() { set_blas({}); }
  ~WithoutBlas() { use_system_blas(); }
  WithoutBlas(const WithoutBlas&) = delete;
  WithoutBlas& operator=(const WithoutBlas&) = delete;
};

}  // namespace

TEST_CASE("gemm multiplies row-major matrices, transposed or not") {
  const std::size_t m = 3, n = 5, k = 4, stride = 7;
  for (const Op op_a : {Op::none, Op::transpose}) {
    for (const Op op_b : {Op::none, Op::transpose}) {
      std::vector<double> a = numbers(stride * stride, 1), b = numbers(stride * stride, 2), c = numbers(m * stride, 3);
      const std::vector<double> before = c;
      const MatrixView<double> va(a.data(), op_a == Op::none ? m : k, op_a == Op::none ? k : m, stride);
      const MatrixView<double> vb(b.data(), op_b == Op::none ? k : n, op_b == Op::none ? n : k, stride);
      gemm<double>(op_a, op_b, 2, va, vb, -1, {c.data(), m, n, stride});
      for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t j = 0; j < n; ++j) {
          double sum = 0;
          for (std::size_t l = 0; l < k; ++l) sum += element(va, op_a, i, l) * element(vb, op_b, l, j);
          CHECK(c[i * stride + j] == doctest::Approx(2 * sum - before[i * stride + j]));
        }
      }
      CHECK(c[n] == before[n]);  // beside the view
    }
  }
}

TEST_CASE("the triangular solves undo a product") {
  const std::size_t n = 4;
  std::vector<double> a = positive_definite(n, 4), b = numbers(n * n, 5), product(n * n);
  const MatrixView<double> view(a.data(), n, n), result(product.data(), n, n);
  std::vector<double> lower(n * n, 0), upper(n * n, 0);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) lower[i * n + j] = a[i * n + j];
    for (std::size_t j = i; j < n; ++j) upper[i * n + j] = i == j ? 1 : a[i * n + j];
  }
  const auto check = [&] {
    for (std::size_t i = 0; i < n * n; ++i) CHECK(product[i] == doctest::Approx(b[i]));
  };
  for (const Op op : {Op::none, Op::transpose}) {
    gemm<double>(op, Op::none, 1, {lower.data(), n, n}, {b.data(), n, n}, 0, result);
    solve_lower<double>(Side::left, op, view, result);
    check();
    gemm<double>(Op::none, op, 1, {b.data(), n, n}, {lower.data(), n, n}, 0, result);
    solve_lower<double>(Side::right, op, view, result);
    check();
  }
  gemm<double>(Op::none, Op::none, 1, {b.data(), n, n}, {upper.data(), n, n}, 0, result);
  solve_unit_upper<double>(view, result);
  check();
}

TEST_CASE("the factorisations give the matrix back") {
  const std::size_t n = 6;
  const std::vector<double> a = positive_definite(n, 6);
  std::vector<double> lower = a, vectors = a, values(n);
  REQUIRE(cholesky({lower.data(), n, n}));
  symmetric_eigen({vectors.data(), n, n}, values);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double of_cholesky = 0, of_eigen = 0;
      for (std::size_t l = 0; l <= j; ++l) of_cholesky += lower[i * n + l] * lower[j * n + l];
      for (std::size_t l = 0; l < n; ++l) of_eigen += values[l] * vectors[l * n + i] * vectors[l * n + j];
      CHECK(of_cholesky == doctest::Approx(a[i * n + j]));
      CHECK(of_eigen == doctest::Approx(a[i * n + j]));
    }
  }
  std::vector<double> indefinite{1, 2, 2, 1};
  CHECK_FALSE(cholesky({indefinite.data(), 2, 2}));
}

TEST_CASE("pivoted Cholesky finds the rank") {
  const std::size_t n = 5, rank = 2;
  std::vector<double> x = numbers(n * rank, 7), a(n * n);
  gemm<double>(Op::none, Op::transpose, 1, {x.data(), n, rank}, {x.data(), n, rank}, 0, {a.data(), n, n});
  const std::vector<double> before = a;
  std::vector<int> pivots(n);
  REQUIRE(pivoted_cholesky({a.data(), n, n}, pivots, 1e-12) == rank);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::size_t l = 0; l < std::min({rank, i + 1, j + 1}); ++l) sum += a[i * n + l] * a[j * n + l];
      const auto row = static_cast<std::size_t>(pivots[i]), column = static_cast<std::size_t>(pivots[j]);
      CHECK(sum == doctest::Approx(before[row * n + column]).epsilon(1e-10));
    }
  }
}

TEST_CASE("a routine that nobody gave is an error that names it, also inside of a fit") {
  const WithoutBlas without;
  std::vector<double> a{1};
  std::vector<int> pivots(1);
  const MatrixView<double> view(a.data(), 1, 1);
  CHECK_THROWS_WITH_AS((gemm<double>(Op::none, Op::none, 1, view, view, 0, view)), doctest::Contains("gemm"),
                       InvalidArgument);
  CHECK_THROWS_WITH_AS((solve_lower<double>(Side::left, Op::none, view, view)), doctest::Contains("trsm"),
                       InvalidArgument);
  CHECK_THROWS_WITH_AS(cholesky(view), doctest::Contains("potrf"), InvalidArgument);
  CHECK_THROWS_WITH_AS(pivoted_cholesky(view, pivots, 0), doctest::Contains("pstrf"), InvalidArgument);
  CHECK_THROWS_WITH_AS(symmetric_eigen(view, a), doctest::Contains("syevd"), InvalidArgument);

  const std::vector<double> points{0, 1}, sign{1}, target{0.5};
  const std::vector<std::int64_t> pairs{0, 1};
  LocalLink link;
  ItmlParams params;
  params.n_threads = 2;  // the error leaves a thread of the team
  const ItmlData<double> data{{{points.data(), 2, 1}, {pairs.data(), 1, 2}, {}}, sign, target, {}};
  const auto fit = [&] {
    Control control;
    make_itml_session<double>(params, data, link)->advance(1, control);
  };
  CHECK_THROWS_WITH_AS(fit(), doctest::Contains("set_blas()"), InvalidArgument);
}
