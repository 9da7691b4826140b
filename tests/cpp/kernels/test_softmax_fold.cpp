#include "steppe/kernels/softmax_fold.hpp"

#include <doctest/doctest.h>

#include "kernels/softmax_cases.hpp"
#include "steppe/kernels/exponential.hpp"

using namespace steppe;
using kernels::LogSum;

TEST_CASE_TEMPLATE("exponential agrees with the library's", T, float, double) {
  for (double x = -80; x < 80; x += 0.37) {
    const T at = static_cast<T>(x);
    CHECK(double{kernels::exponential(at)} ==
          doctest::Approx(std::exp(double{at})).epsilon(sizeof(T) == 4 ? 4e-7 : 2e-15));
  }
  CHECK(kernels::exponential(T(-1e30)) == 0);
  CHECK(std::isfinite(kernels::exponential(T(1e30))));
}

TEST_CASE("log-sums merge in any order and far beyond the range of exp") {
  const std::vector<double> u{-1000, 3, 1000, 999.5, -2, 1000};
  const double expected = log_sum_exp(u);
  LogSum<double> forward, backward, halves[2];
  for (std::size_t i = 0; i < u.size(); ++i) {
    forward.merge(u[i], 1);
    backward.merge(u[u.size() - 1 - i], 1);
    halves[i % 2].merge(u[i], 1);
  }
  halves[0].merge(halves[1].top, halves[1].sum);
  CHECK(forward.value() == doctest::Approx(expected).epsilon(1e-14));
  CHECK(backward.value() == doctest::Approx(expected).epsilon(1e-14));
  CHECK(halves[0].value() == doctest::Approx(expected).epsilon(1e-14));
}

TEST_CASE_TEMPLATE("folding blocks of classes gives the log-sum of all scores", T, float, double) {
  const SoftmaxCase<T> data(17, 9, 41);
  const std::size_t lanes = padded<T>(20), blocks = (41 + lanes - 1) / lanes;
  std::vector<AlignedVector<T>> weights(blocks, AlignedVector<T>(10 * lanes));
  Stream stream(1, Purpose::data, 1);
  AlignedVector<T> whole(10 * padded<T>(41));
  for (std::size_t j = 0; j < 10; ++j) {
    for (std::size_t k = 0; k < 41; ++k) {
      const T value = static_cast<T>(stream.normal());
      whole[j * padded<T>(41) + k] = weights[k / lanes][j * lanes + k % lanes] = value;
    }
  }
  std::vector<LogSum<T>> sums(17);
  std::vector<T> own(17);
  AlignedVector<T> scratch(lanes);
  for (std::size_t b = 0; b < blocks; ++b) {
    const kernels::ScoreBlock<T> block{weights[b].data(), weights[b].data() + 9 * lanes, lanes,
                                       std::min(lanes, 41 - b * lanes), static_cast<std::int32_t>(b * lanes)};
    kernels::fold_scores(data.x(), data.labels, block, sums, own, std::span<T>(scratch));
  }
  for (std::size_t i = 0; i < 17; ++i) {
    const auto u = data.scores(i, whole.data(), padded<T>(41), whole.data() + 9 * padded<T>(41));
    CHECK(double{sums[i].value()} == doctest::Approx(log_sum_exp(u)).epsilon(1e-5));
    CHECK(double{own[i]} == doctest::Approx(u[static_cast<std::size_t>(data.labels[i])]).epsilon(1e-5));
  }
}

TEST_CASE("the residual is the derivative of the loss by the scores") {
  const SoftmaxCase<double> data(6, 5, 3);
  const std::size_t lanes = padded<double>(3);
  AlignedVector<double> w(6 * lanes), residual(6 * lanes), unused(6 * lanes);
  Stream stream(2, Purpose::data, 1);
  for (std::size_t j = 0; j < 6; ++j) {
    for (std::size_t c = 0; c < 3; ++c) w[j * lanes + c] = stream.normal();
  }
  const kernels::ScoreBlock<double> block{w.data(), w.data() + 5 * lanes, lanes, 3, 0};
  const auto loss = [&] {
    return kernels::softmax_residual(data.x(), data.labels, data.weights, block, unused.data());
  };
  kernels::softmax_residual(data.x(), data.labels, data.weights, block, residual.data());
  for (std::size_t j = 0; j < 6; ++j) {
    for (std::size_t c = 0; c < 3; ++c) {
      double slope = 0;
      for (std::size_t i = 0; i < 6; ++i) {
        const auto row = data.csr().row(i);
        double x = j == 5 ? 1 : 0;
        for (std::size_t e = 0; e < row.size(); ++e)
          x += row.indices[e] == static_cast<std::int32_t>(j) ? row.values[e] : 0;
        slope += x * residual[i * lanes + c];
      }
      double& place = w[j * lanes + c];
      const double kept = place, h = 1e-5;
      place = kept + h;
      const double above = loss();
      place = kept - h;
      const double below = loss();
      place = kept;
      CHECK(slope == doctest::Approx((above - below) / (2 * h)).epsilon(1e-6));
    }
  }
}
