#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/kernels/sgd_pair.hpp"

using namespace steppe;

namespace {

// Ratings of one item by every second user, and random factors, padded with zeros.
template <class T>
struct Case {
  std::size_t k, stride, n_users;
  AlignedVector<T> w, h;
  std::vector<T> user_bias, item_bias{T(0.3)}, reg, values;
  std::vector<std::int32_t> users;
  kernels::SgdStep<T> step{T(0.2), T(0.05), T(0.03), T(0.5), T(1.5), false};

  Case(std::size_t n_factors, std::size_t n_ratings)
      : k(n_factors), stride(padded<T>(n_factors)), n_users(2 * n_ratings + 1), w(n_users * stride), h(stride) {
    Stream stream(5, Purpose::data, n_factors, static_cast<std::uint32_t>(n_ratings));
    for (std::size_t u = 0; u < n_users; ++u) {
      for (std::size_t f = 0; f < k; ++f) w[u * stride + f] = static_cast<T>(stream.normal() / std::sqrt(double(k)));
      user_bias.push_back(static_cast<T>(0.2 * stream.normal()));
      reg.push_back(static_cast<T>(0.1 * stream.uniform()));
    }
    for (std::size_t f = 0; f < k; ++f) h[f] = static_cast<T>(stream.normal() / std::sqrt(double(k)));
    for (std::size_t r = 0; r < n_ratings; ++r) {
      users.push_back(static_cast<std::int32_t>(2 * r + 1));
      values.push_back(static_cast<T>(stream.normal()));
    }
  }

  double visit(bool biases, bool own_reg) {
    return kernels::sgd_visit<T>(
        {w.data(), biases ? user_bias.data() : nullptr, own_reg ? reg.data() : nullptr, stride},
        {h.data(), item_bias.data()}, {users, values}, step);
  }
  double error(bool biases) const {
    auto rows = w;
    auto bias = user_bias;
    return kernels::squared_error<T>({rows.data(), biases ? bias.data() : nullptr, nullptr, stride},
                                     {h.data(), item_bias.data()}, {users, values}, step.mean);
  }

  // The formulas of the header, in double, one rating after the other.
  double oracle(bool biases, bool own_reg) {
    double loss = 0, norm_before = 0, norm = 0;
    for (const T x : h) norm += double(x) * x;
    if (!biases) step.bias_scale = 0;
    const double c = step.bias_scale;
    for (std::size_t r = 0; r < users.size(); ++r) {
      const auto u = static_cast<std::size_t>(users[r]);
      T* const row = w.data() + u * stride;
      double dot = 0, user_norm = 0, norm_now = 0;
      for (std::size_t f = 0; f < stride; ++f) {
        dot += double(row[f]) * h[f];
        user_norm += double(row[f]) * row[f];
        norm_now += double(h[f]) * h[f];
      }
      if (r % 2 == 0) {
        norm_before = norm;
        norm = norm_now;
      }
      const double s = step.step / (1 + step.step * (norm_before + user_norm + 2 * c));
      const double lambda = own_reg ? reg[u] : step.reg;
      const double e = dot + step.mean + (biases ? double(user_bias[u]) : 0.0) + item_bias[0] - values[r];
      loss += e * e;
      if (biases) {
        user_bias[u] = T((1 - c * s * lambda) * user_bias[u] - c * s * e);
        item_bias[0] = T((1 - c * s * step.item_reg) * item_bias[0] - c * s * e);
      }
      for (std::size_t f = 0; f < stride; ++f) {
        const double old = row[f], floor = step.nonnegative ? 0 : -std::numeric_limits<double>::infinity();
        row[f] = T(std::max(floor, (1 - s * lambda) * old - s * e * h[f]));
        h[f] = T(std::max(floor, (1 - s * step.item_reg) * h[f] - s * e * old));
      }
    }
    return loss;
  }
};

template <class T>
void check_close(const Case<T>& a, const Case<T>& b) {
  const double tolerance = 200 * std::numeric_limits<T>::epsilon();
  const auto close = [&](const auto& x, const auto& y) {
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(double(x[i]) - double(y[i])));
    CHECK(worst < tolerance);
  };
  close(a.w, b.w);
  close(a.h, b.h);
  close(a.user_bias, b.user_bias);
  close(a.item_bias, b.item_bias);
}

}  // namespace

TEST_CASE_TEMPLATE("sgd_visit follows its formulas for every width, odd counts, biases and L2 weights", T, float,
                   double) {
  for (const std::size_t k : {1, 8, 16, 31, 32, 33, 48, 64, 100, 128, 200}) {
    for (const std::size_t n : {0, 1, 2, 7, 40}) {
      for (const bool biases : {false, true}) {
        for (const bool own_reg : {false, true}) {
          for (const bool nonnegative : {false, true}) {
            CAPTURE(k);
            CAPTURE(n);
            Case<T> kernel(k, n);
            kernel.step.nonnegative = nonnegative;
            if (!biases) kernel.step.bias_scale = 0;
            Case<T> oracle = kernel;
            const double loss = kernel.visit(biases, own_reg), expected = oracle.oracle(biases, own_reg);
            CHECK(loss == doctest::Approx(expected).epsilon(1e3 * std::numeric_limits<T>::epsilon()));
            check_close(kernel, oracle);
          }
        }
      }
    }
  }
}

// With a tiny step s, the change of a parameter is -s times the derivative of the objective of these ratings,
// 1/2 sum (e^2 + reg (|w|^2 + b_u^2) + item_reg (|h|^2 + b_j^2)); that of a bias is -c s times it.
TEST_CASE("sgd_visit steps along the gradient, by finite differences") {
  Case<double> before(6, 9);
  before.step.step = 1e-7;
  const auto objective = [](const Case<double>& point) {
    double value = point.error(true);
    for (std::size_t r = 0; r < point.users.size(); ++r) {
      const auto u = static_cast<std::size_t>(point.users[r]);
      double users = point.user_bias[u] * point.user_bias[u], item = point.item_bias[0] * point.item_bias[0];
      for (std::size_t f = 0; f < point.stride; ++f) {
        users += point.w[u * point.stride + f] * point.w[u * point.stride + f];
        item += point.h[f] * point.h[f];
      }
      value += point.step.reg * users + point.step.item_reg * item;
    }
    return 0.5 * value;
  };
  Case<double> after = before;
  after.visit(true, false);
  const auto check = [&](double& place, double moved, double scale) {
    const double keep = place, width = 1e-5;
    place = keep + width;
    const double above = objective(before);
    place = keep - width;
    const double below = objective(before);
    place = keep;
    const double slope = (above - below) / (2 * width);
    CHECK(moved - keep == doctest::Approx(-scale * before.step.step * slope).epsilon(1e-4));
  };
  for (std::size_t f = 0; f < before.k; ++f) {
    check(before.h[f], after.h[f], 1);
    for (const std::size_t u : {1, 3, 17}) check(before.w[u * before.stride + f], after.w[u * after.stride + f], 1);
  }
  check(before.item_bias[0], after.item_bias[0], before.step.bias_scale);
  check(before.user_bias[5], after.user_bias[5], before.step.bias_scale);
}

TEST_CASE_TEMPLATE("sgd_visit: a huge step neither diverges nor crosses a single rating", T, float, double) {
  for (const double step : {1.0, 1e3, 1e6}) {
    Case<T> point(32, 1);
    point.step.step = static_cast<T>(step);
    point.step.reg = point.step.item_reg = 0;
    const double before = point.error(true);
    point.visit(true, false);
    CHECK(std::isfinite(point.error(true)));
    CHECK(point.error(true) < before * 1.01);
  }
}

TEST_CASE_TEMPLATE("sgd_visit keeps padding at zero and reports a loss that is no number", T, float, double) {
  Case<T> point(33, 20);
  point.visit(true, false);
  for (std::size_t f = 33; f < point.stride; ++f) CHECK(point.h[f] == T(0));
  point.h[0] = std::numeric_limits<T>::infinity();
  CHECK_FALSE(std::isfinite(point.visit(true, false)));
}

TEST_CASE_TEMPLATE("squared_error is the sum of squared errors", T, float, double) {
  for (const std::size_t k : {3, 32, 90}) {
    for (const std::size_t n : {0, 1, 4, 5, 63}) {
      const Case<T> point(k, n);
      double expected = 0;
      for (std::size_t r = 0; r < n; ++r) {
        const auto u = static_cast<std::size_t>(point.users[r]);
        double e = double(point.step.mean) + point.user_bias[u] + point.item_bias[0] - point.values[r];
        for (std::size_t f = 0; f < k; ++f) e += double(point.w[u * point.stride + f]) * point.h[f];
        expected += e * e;
      }
      CHECK(point.error(true) == doctest::Approx(expected).epsilon(50 * std::numeric_limits<T>::epsilon()));
    }
  }
}
