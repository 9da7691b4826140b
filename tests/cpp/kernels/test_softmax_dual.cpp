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
  std::vector<T> omega, kappa;
  std::vector<kernels::DualBlock<T>> blocks;
  std::vector<std::uint32_t> order;
  kernels::DualSettings<T> settings;

  DualCase(SoftmaxCase<T> data_, double alpha_, double intercept_scale = 0, double damping = 1)
      : data(std::move(data_)), alpha(alpha_), lanes(padded<T>(data.n_classes)), token((data.n_features + 2) * lanes),
        dual(data.n_rows * lanes), scratch(kernels::dual_scratch(data.n_classes, lanes)), order(data.n_rows),
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

  kernels::DualRows<T> rows() { return {data.x(), omega, kappa, dual.data(), lanes, order}; }
  kernels::DualBlock<T> block() {
    T* c = settings.intercept_scale > 0 ? token.data() + data.n_features * lanes : nullptr;
    return {token.data(), c, c ? c + lanes : nullptr, data.n_classes, 0};
  }
  kernels::DualBlocks<T> classes() {
    blocks = {block()};
    return {blocks, lanes, true};
  }
  void sweep() { kernels::sweep_softmax_dual(rows(), classes(), settings, kernels::Scratch<T>(scratch)); }

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
    }
  }
}

TEST_CASE_TEMPLATE("W stays the sum over rows that its dual variables say", T, float, double) {
  DualCase<T> fit({40, 9, 5}, 1e-3, 2.0);
  for (int round = 0; round < 3; ++round) fit.sweep();
  DualCase<T> again({40, 9, 5}, 1e-3, 2.0);
  again.dual = fit.dual;
  kernels::add_dual_weights(again.rows(), again.data.labels, 0, again.block(), again.lanes, again.settings,
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
    kernels::sweep_softmax_dual_shared(shared.rows(), shared.classes(), shared.settings,
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

TEST_CASE_TEMPLATE("classes at hand share out the mass that the row has on them, and no other", T, float, double) {
  // Three blocks of which the first and the last are at hand; their classes start with unequal masses.
  const SoftmaxCase<T> data(6, 5, 40, 0.5);
  const std::size_t lanes = kernels::kLanes<T>, n_blocks = (40 + lanes - 1) / lanes;
  std::vector<AlignedVector<T>> tokens(n_blocks, AlignedVector<T>(5 * lanes));
  std::vector<T> dual(6 * 40), omega(6, T(0.1)), kappa(6);
  Stream stream(4, Purpose::data, 1);
  for (std::size_t i = 0; i < 6; ++i) {
    T sum = 0;
    for (std::size_t c = 0; c < 40; ++c) sum += dual[i * 40 + c] = static_cast<T>(stream.uniform());
    for (std::size_t c = 0; c < 40; ++c) dual[i * 40 + c] /= sum;
    for (const T value : data.csr().row(i).values) kappa[i] += T(0.1) * value * value / T(1e-2);
  }
  const auto before = dual;
  std::vector<kernels::DualBlock<T>> blocks;
  std::vector<std::size_t> at_hand;
  for (const std::size_t b : {std::size_t{0}, n_blocks - 1}) {
    const std::size_t size = std::min(lanes, 40 - b * lanes);
    blocks.push_back({tokens[b].data(), nullptr, nullptr, size, b * lanes});
    for (std::size_t c = 0; c < size; ++c) at_hand.push_back(b * lanes + c);
  }
  AlignedVector<T> scratch(kernels::dual_scratch(at_hand.size(), lanes));
  std::vector<std::uint32_t> order{2};
  kernels::sweep_softmax_dual({data.x(), omega, kappa, dual.data(), 40, order}, {blocks, lanes, false},
                              {.inverse_alpha = 100}, kernels::Scratch<T>(scratch));
  // log q - u is one number over the classes at hand, and their mass is what it was.
  const auto score = [&](std::size_t c) {
    const auto row = data.csr().row(2);
    double u = 0;
    for (std::size_t e = 0; e < row.size(); ++e) {
      u += double{row.values[e]} *
           double{tokens[c / lanes][static_cast<std::size_t>(row.indices[e]) * lanes + c % lanes]};
    }
    return u;
  };
  double mass = 0, mass_before = 0;
  const double level = std::log(double{dual[80 + at_hand[0]]}) - score(at_hand[0]);
  for (const std::size_t c : at_hand) {
    CHECK(std::log(double{dual[80 + c]}) - score(c) == doctest::Approx(level).epsilon(2e-3));
    mass += dual[80 + c];
    mass_before += before[80 + c];
  }
  CHECK(mass == doctest::Approx(mass_before).epsilon(1e-5));
  for (std::size_t e = 0; e < dual.size(); ++e) {
    const bool moved = e >= 80 && e < 120 && std::find(at_hand.begin(), at_hand.end(), e - 80) != at_hand.end();
    if (!moved) CHECK(dual[e] == before[e]);
  }
}
