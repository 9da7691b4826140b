#include "steppe/kernels/softmax_dual.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "kernels/softmax_cases.hpp"

using namespace steppe;

namespace {

// All that a sweep works on, with every class in one block and q = e_y, W = 0.
template <class T>
struct DualCase {
  SoftmaxCase<T> data;
  double alpha;
  std::size_t lanes;
  AlignedVector<T> token, dual, scratch;
  std::vector<T> omega, kappa, normaliser, share;
  std::vector<std::uint32_t> order;
  kernels::DualSettings<T> settings;

  DualCase(SoftmaxCase<T> data_, double alpha_, double intercept_scale = 0, double damping = 1)
      : data(std::move(data_)), alpha(alpha_), lanes(padded<T>(data.n_classes)), token((data.n_features + 2) * lanes),
        dual(data.n_rows * lanes), scratch(kernels::kDualScratch * lanes), normaliser(data.n_rows), share(data.n_rows),
        order(data.n_rows),
        settings{static_cast<T>(1 / alpha), static_cast<T>(intercept_scale), static_cast<T>(damping)} {
    std::iota(order.begin(), order.end(), 0u);
    for (std::size_t i = 0; i < data.n_rows; ++i) {
      dual[i * lanes + static_cast<std::size_t>(data.labels[i])] = 1;
      double norm = 0;
      for (const T value : data.csr().row(i).values) norm += double{value} * double{value};
      omega.push_back(static_cast<T>(double{data.weights[i]} / data.total_weight()));
      kappa.push_back(static_cast<T>(double{omega[i]} * (norm / alpha + intercept_scale)));
    }
  }

  kernels::DualRows<T> rows() { return {data.x(), omega, kappa, normaliser.data(), order}; }
  kernels::DualBlock<T> block() {
    T* c = settings.intercept_scale > 0 ? token.data() + data.n_features * lanes : nullptr;
    return {token.data(), c, c ? c + lanes : nullptr, dual.data(), share.data(), lanes, data.n_classes, true};
  }
  void sweep() { kernels::sweep_softmax_dual(rows(), block(), settings, kernels::Scratch<T>(scratch)); }

  // -sum omega q log q - alpha/2 ||W||^2, for W made of q.
  double dual_objective() const {
    double value = 0;
    for (std::size_t i = 0; i < data.n_rows; ++i) {
      for (std::size_t c = 0; c < data.n_classes; ++c) {
        const double q = double{dual[i * lanes + c]};
        if (q > 0) value -= double{omega[i]} * q * std::log(q);
      }
    }
    for (std::size_t e = 0; e < data.n_features * lanes; ++e) value -= alpha / 2 * double{token[e]} * double{token[e]};
    return value;
  }
};

}  // namespace

TEST_CASE_TEMPLATE("a step ends at the softmax of its own scores, however long the row", T, float, double) {
  for (const double scale : {0.01, 1.0, 30.0, 1000.0}) {
    DualCase<T> fit({12, 7, 21, scale}, 1e-3);
    for (std::uint32_t i = 0; i < 12; ++i) {
      fit.order = {i};
      fit.sweep();
      if (fit.omega[i] == 0) continue;
      const auto u = fit.data.scores(i, fit.token.data(), fit.lanes, nullptr);
      const double all = log_sum_exp(u);
      CAPTURE(scale);
      CAPTURE(i);
      // Scores are sums of large terms that cancel, so their rounding grows with kappa.
      const double blur = (sizeof(T) == 4 ? 1e-6 : 1e-13) * (1 + double{fit.kappa[i]});
      for (std::size_t c = 0; c < 21; ++c) {
        CHECK(std::abs(double{fit.dual[i * fit.lanes + c]} - std::exp(u[c] - all)) < 2e-3 + blur);
      }
      CHECK(std::abs(double{fit.normaliser[i]} - all) < (1e-3 + blur) * (1 + std::abs(all)));
    }
  }
}

TEST_CASE_TEMPLATE("W stays the sum over rows that its dual variables say", T, float, double) {
  DualCase<T> fit({40, 9, 5}, 1e-3, 2.0);
  for (int round = 0; round < 3; ++round) fit.sweep();
  DualCase<T> again({40, 9, 5}, 1e-3, 2.0);
  again.dual = fit.dual;
  kernels::add_dual_weights(again.rows(), again.data.labels, 0, again.block(), again.settings,
                            kernels::Scratch<T>(again.scratch));
  std::copy_n(
      fit.token.begin() + 9 * static_cast<std::ptrdiff_t>(fit.lanes), fit.lanes,
      again.token.begin() + 9 * static_cast<std::ptrdiff_t>(fit.lanes));  // the intercept is not made of q alone
  for (std::size_t e = 0; e < fit.token.size(); ++e)
    CHECK(std::abs(double{fit.token[e]} - double{again.token[e]}) < 1e-4);
}

TEST_CASE("sweeps never lower the dual and end where W is its own softmax's") {
  DualCase<double> fit({60, 8, 4}, 1e-2);
  double before = fit.dual_objective();
  for (std::uint32_t round = 0; round < 200; ++round) {
    Stream stream(1, Purpose::sample, 0, round);
    shuffle(std::span(fit.order), stream);
    fit.sweep();
    const double now = fit.dual_objective();
    CHECK(now >= before - 1e-7);
    before = now;
  }
  for (std::size_t i = 0; i < 60; ++i) {
    if (fit.omega[i] == 0) continue;
    const auto u = fit.data.scores(i, fit.token.data(), fit.lanes, nullptr);
    for (std::size_t c = 0; c < 4; ++c) {
      CHECK(fit.dual[i * fit.lanes + c] == doctest::Approx(std::exp(u[c] - log_sum_exp(u))).epsilon(1e-6));
    }
  }
}

TEST_CASE("shared access on one thread steps like exclusive access") {
  DualCase<double> exclusive({30, 6, 4}, 1e-3, 5.0), shared({30, 6, 4}, 1e-3, 5.0);
  for (int round = 0; round < 5; ++round) {
    exclusive.sweep();
    kernels::sweep_softmax_dual_shared(shared.rows(), shared.block(), shared.settings,
                                       kernels::Scratch<double>(shared.scratch));
  }
  for (std::size_t e = 0; e < exclusive.token.size(); ++e) {
    CHECK(exclusive.token[e] == doctest::Approx(shared.token[e]).epsilon(1e-6));
  }
}

TEST_CASE("damping makes a part of the step, and lanes without a class stay zero") {
  DualCase<float> whole({10, 6, 5}, 1e-2), half({10, 6, 5}, 1e-2, 0, 0.5);
  whole.order = half.order = {1};
  whole.sweep();
  half.sweep();
  for (std::size_t e = 0; e < whole.token.size(); ++e) CHECK(half.token[e] == doctest::Approx(whole.token[e] / 2));
  for (std::size_t j = 0; j < 6; ++j) {
    for (std::size_t c = 5; c < whole.lanes; ++c) CHECK(whole.token[j * whole.lanes + c] == 0);
  }
}
