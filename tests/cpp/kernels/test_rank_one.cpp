#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/kernels/rank_one.hpp"

using namespace steppe;

namespace {

// b vectors of dimension m, and S = C' C: the start A = I.
struct Block {
  std::size_t b, m;
  std::vector<double> c;
  std::vector<double> sign, target, dual, beta;

  Block(std::size_t b_, std::size_t m_, std::uint64_t seed) : b(b_), m(m_), c(b_ * m_), dual(b_, 0.0), beta(b_) {
    Stream stream(seed, Purpose::data, 0);
    for (double& value : c) value = stream.normal();
    for (std::size_t k = 0; k < b; ++k) {
      sign.push_back(k % 3 == 0 ? -1 : 1);
      target.push_back(static_cast<double>(m) * (sign[k] > 0 ? 0.5 : 3.0));
    }
  }
  double dot(std::size_t k, std::size_t l) const {
    double sum = 0;
    for (std::size_t j = 0; j < m; ++j) sum += c[k * m + j] * c[l * m + j];
    return sum;
  }
  std::vector<double> products() const {
    std::vector<double> s(b * b);
    for (std::size_t k = 0; k < b; ++k) {
      for (std::size_t l = 0; l < b; ++l) s[k * b + l] = dot(k, l);
    }
    return s;
  }
  kernels::BlockConstraints constraints(double gamma) { return {sign, target, dual, gamma}; }
};

// The published algorithm on the m x m matrix: A after one cycle.
std::vector<double> sequential(Block& block, double gamma) {
  const std::size_t m = block.m;
  std::vector<double> a(m * m, 0.0), ac(m);
  for (std::size_t i = 0; i < m; ++i) a[i * m + i] = 1;
  for (std::size_t k = 0; k < block.b; ++k) {
    const double* const c = block.c.data() + k * m;
    double p = 0;
    for (std::size_t i = 0; i < m; ++i) {
      ac[i] = 0;
      for (std::size_t j = 0; j < m; ++j) ac[i] += a[i * m + j] * c[j];
      p += ac[i] * c[i];
    }
    const double step = kernels::projection_step(p, block.sign[k], block.target[k], block.dual[k], gamma);
    block.dual[k] -= block.sign[k] * step;
    const double beta = step / (1 - step * p);
    for (std::size_t i = 0; i < m; ++i) {
      for (std::size_t j = 0; j < m; ++j) a[i * m + j] += beta * ac[i] * ac[j];
    }
  }
  return a;
}

// I + V M V' with V = C', from what the kernel leaves: columns of W = V N^-1, then W diag(beta) W'.
std::vector<double> rebuilt(const Block& block, const std::vector<double>& n) {
  const std::size_t b = block.b, m = block.m;
  std::vector<double> w(b * m), a(m * m, 0.0);
  for (std::size_t l = 0; l < b; ++l) {
    for (std::size_t i = 0; i < m; ++i) {
      w[l * m + i] = block.c[l * m + i];
      for (std::size_t k = 0; k < l; ++k) w[l * m + i] -= w[k * m + i] * n[k * b + l];
    }
  }
  for (std::size_t i = 0; i < m; ++i) {
    a[i * m + i] = 1;
    for (std::size_t j = 0; j < m; ++j) {
      for (std::size_t k = 0; k < b; ++k) a[i * m + j] += block.beta[k] * w[k * m + i] * w[k * m + j];
    }
  }
  return a;
}

double distance(const std::vector<double>& a, const std::vector<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace

TEST_CASE("a block of projections equals the sequential algorithm") {
  for (const double gamma : {0.1, 1.0, 10.0, std::numeric_limits<double>::infinity()}) {
    Block block(12, 7, 1), other(12, 7, 1);
    std::vector<double> s = block.products();
    kernels::project_in_turn({s.data(), 12, 12}, block.constraints(gamma), block.beta);
    const std::vector<double> a = sequential(other, gamma);
    CHECK(distance(rebuilt(block, s), a) < 1e-12);
    CHECK(distance(block.dual, other.dual) < 1e-13);
  }
}

TEST_CASE("one violated similar pair: the closed form") {
  for (const double gamma : {0.1, 1.0, 10.0}) {
    double s = 8;  // p of A = I
    double dual = 0, beta = 0;
    const double sign = 1, target = 2;
    const auto change = kernels::project_in_turn(MatrixView<double>(&s, 1, 1),
                                                 {{&sign, 1}, {&target, 1}, {&dual, 1}, gamma}, {&beta, 1});
    const double expected = gamma / (gamma + 1) * (1 / target - 1 / s);
    const double p = 1 / (1 / 8.0 + expected);
    CHECK(dual == doctest::Approx(expected).epsilon(1e-14));
    CHECK(change.dual == doctest::Approx(expected).epsilon(1e-14));
    CHECK(8 + beta * 64 == doctest::Approx(p).epsilon(1e-13));
    CHECK(change.log_det == doctest::Approx(std::log(p / 8)).epsilon(1e-13));
    CHECK(p == doctest::Approx(1 / (1 / target - dual / gamma)).epsilon(1e-13));  // the pair meets its slack target
  }
}

TEST_CASE("an update that would end definiteness is left out") {
  std::vector<double> s{2, 1, 1, 2}, step{0.6, -0.5}, beta(2);
  const auto change = kernels::apply_in_turn({s.data(), 2, 2}, step, beta);
  CHECK(change.left_out == 1);
  CHECK(beta[0] == 0);
  CHECK(beta[1] == doctest::Approx(-0.5 / 2.0));
  CHECK(change.log_det == doctest::Approx(-std::log(2.0)));
}

TEST_CASE("a distance of zero is passed over") {
  std::vector<double> s{0, 0, 0, 3}, beta(2), dual(2), sign{1, 1}, target{1, 1};
  kernels::project_in_turn({s.data(), 2, 2}, {sign, target, dual, 1}, beta);
  CHECK(beta[0] == 0);
  CHECK(dual[0] == 0);
  CHECK(dual[1] > 0);
}

TEST_CASE("a projection that is left out moves neither A nor its dual variable") {
  for (const double gamma : {1e13, std::numeric_limits<double>::infinity()}) {
    double s = 1e-16, dual = 0, beta = 1;
    const double sign = -1, target = 4;
    const auto change = kernels::project_in_turn(MatrixView<double>(&s, 1, 1),
                                                 {{&sign, 1}, {&target, 1}, {&dual, 1}, gamma}, {&beta, 1});
    CHECK(change.left_out == 1);
    CHECK(beta == 0);
    CHECK(dual == 0);
    CHECK(change.dual == 0);
    CHECK(change.log_det == 0);
  }
}
