#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/kernels/logarithm.hpp"
#include "steppe/kernels/mixture_moments.hpp"
#include "steppe/kernels/mixture_scores.hpp"

using namespace steppe;
using namespace steppe::kernels;

namespace {

template <class T>
constexpr double kTolerance = sizeof(T) == 4 ? 2e-5 : 1e-12;

// Components and rows drawn at random, in double precision and as the kernel wants them.
template <class T>
struct Drawn {
  std::size_t n, k, d, stride;
  bool full;
  std::vector<double> x, factors, means, constants;
  AlignedVector<T> rows, packed, offsets, scratch;
  std::vector<T> constants_of;

  Drawn(std::size_t rows_, std::size_t components, std::size_t features, bool triangular)
      : n(rows_), k(components), d(features), stride(padded<T>(features)), full(triangular) {
    Stream stream(5, Purpose::data, n * 1000 + k * 10 + d);
    for (std::size_t i = 0; i < n * d; ++i) x.push_back(double(static_cast<T>(2 * stream.normal())));
    for (std::size_t c = 0; c < k; ++c) {
      constants.push_back(double(static_cast<T>(stream.normal())));
      for (std::size_t j = 0; j < d; ++j) means.push_back(stream.normal());
      for (std::size_t i = 0; i < d; ++i) {
        for (std::size_t j = 0; j < d; ++j) {
          const double value = i == j ? 0.5 + stream.uniform() : 0.3 * stream.normal();
          factors.push_back(i == j || (full && j < i) ? value : 0);
        }
      }
    }
    rows.assign(n * stride, T{0});
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < d; ++j) rows[i * stride + j] = static_cast<T>(x[i * d + j]);
    }
    const std::size_t width = offset_stride(d, full), size = full ? triangle_size(d) : d;
    packed.assign(k * size, T{0});
    offsets.assign(k * width, T{0});
    constants_of.assign(constants.begin(), constants.end());
    for (std::size_t c = 0; c < k; ++c) {
      const MatrixView<const double> f(factors.data() + c * d * d, d, d);
      if (full) pack_triangle(f, packed.data() + c * size);
      for (std::size_t i = 0; i < d; ++i) {
        if (!full) packed[c * d + i] = static_cast<T>(f(i, i));
        double offset = 0;
        for (std::size_t j = 0; j < d; ++j) offset += f(i, j) * means[c * d + j];
        offsets[c * width + i] = static_cast<T>(offset);
      }
    }
    scratch.assign(mixture_scratch<T>(k, d), T{0});
  }

  MatrixView<const T> view() const { return {rows.data(), n, d, stride}; }
  GaussiansView<T> gaussians() const { return {k, d, full, constants_of.data(), packed.data(), offsets.data()}; }
  double score(std::size_t row, std::size_t c) const {
    double sum = constants[c];
    for (std::size_t i = 0; i < d; ++i) {
      double y = 0;
      for (std::size_t j = 0; j < d; ++j) {
        y += factors[(c * d + i) * d + j] * (x[row * d + j] - means[c * d + j]);
      }
      sum -= y * y;
    }
    return sum;
  }
  double log_sum(std::size_t row) const {
    double best = score(row, 0), sum = 0;
    for (std::size_t c = 1; c < k; ++c) best = std::max(best, score(row, c));
    for (std::size_t c = 0; c < k; ++c) sum += std::exp(score(row, c) - best);
    return best + std::log(sum);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("logarithm", T, float, double) {
  double worst = 0;
  Stream stream(1, Purpose::data, 0);
  for (int i = 0; i < 20000; ++i) {
    const T x = static_cast<T>(std::exp(40 * stream.normal() / 2));
    if (!(x > std::numeric_limits<T>::min()) || std::isinf(x)) continue;
    worst = std::max(worst, std::abs(double(logarithm(x)) - std::log(double(x))) / std::abs(std::log(double(x))));
  }
  CHECK(worst < 4 * double(std::numeric_limits<T>::epsilon()));
  CHECK(logarithm(T(1)) == T(0));
  for (const double away : {1e-3, -1e-3, 1e-6, -1e-6}) {
    const T x = static_cast<T>(1 + away);
    CHECK(double(logarithm(x)) == doctest::Approx(std::log(double(x))).epsilon(4e-7));
  }
  CHECK(logarithm(T(0)) < T(-80));
}

TEST_CASE_TEMPLATE("scores, shares and labels are those of the formula", T, float, double) {
  for (const bool full : {false, true}) {
    for (const auto& [n, k, d] : {std::array<std::size_t, 3>{1, 1, 1}, {3, 2, 5}, {70, 7, 4}, {200, 16, 19}}) {
      CAPTURE(full);
      CAPTURE(n);
      const Drawn<T> drawn(n, k, d, full);
      std::vector<T> log_sums(n), shares(n * k), probabilities(n * k), mass(n);
      std::vector<std::int32_t> labels(n);
      std::vector<std::uint32_t> rows(n * k), counts(k, 77);
      for (std::size_t i = 0; i < n; ++i) mass[i] = static_cast<T>(0.25 + 0.5 * double(i % 3));
      auto scratch = drawn.scratch;
      MixtureOutputs<T> out;
      out.log_sums = log_sums.data();
      out.labels = labels.data();
      out.probabilities = {probabilities.data(), n, k};
      out.lists = {rows.data(), shares.data(), counts.data(), n};
      out.mass = mass.data();
      assess_rows(drawn.view(), drawn.gaussians(), out, scratch.data());
      std::vector<double> found(n * k);
      for (std::size_t c = 0; c < k; ++c) {
        CHECK(std::is_sorted(rows.begin() + std::ptrdiff_t(c * n), rows.begin() + std::ptrdiff_t(c * n + counts[c])));
        for (std::size_t e = 0; e < counts[c]; ++e) found[rows[c * n + e] * k + c] = double(shares[c * n + e]);
      }
      for (std::size_t i = 0; i < n; ++i) {
        const double log_sum = drawn.log_sum(i);
        CHECK(double(log_sums[i]) == doctest::Approx(log_sum).epsilon(kTolerance<T>));
        std::size_t best = 0;
        for (std::size_t c = 0; c < k; ++c) {
          const double z = std::exp(drawn.score(i, c) - log_sum);
          CHECK(double(probabilities[i * k + c]) == doctest::Approx(z).scale(1).epsilon(5 * kTolerance<T>));
          CHECK(found[i * k + c] == doctest::Approx(z * double(mass[i])).scale(1).epsilon(5 * kTolerance<T>));
          if (drawn.score(i, c) > drawn.score(i, best)) best = c;
        }
        CHECK(labels[i] == std::int32_t(best));
      }
    }
  }
}

TEST_CASE_TEMPLATE("a row's shares do not depend on its neighbours, and far rows share equally", T, float, double) {
  const Drawn<T> drawn(100, 5, 3, true);
  auto rows = drawn.rows;
  const T huge = std::sqrt(std::numeric_limits<T>::max()) * T(4);
  for (std::size_t j = 0; j < 3; ++j) rows[17 * drawn.stride + j] = huge;
  auto scratch = drawn.scratch;
  std::vector<T> whole(100 * 5), one(5);
  MixtureOutputs<T> out;
  out.probabilities = {whole.data(), 100, 5};
  assess_rows(MatrixView<const T>(rows.data(), 100, 3, drawn.stride), drawn.gaussians(), out, scratch.data());
  for (const std::size_t i : {0, 16, 18, 99}) {
    out.probabilities = {one.data(), 1, 5};
    assess_rows(MatrixView<const T>(rows.data() + i * drawn.stride, 1, 3, drawn.stride), drawn.gaussians(), out,
                scratch.data());
    for (std::size_t c = 0; c < 5; ++c) CHECK(one[c] == whole[i * 5 + c]);
  }
  for (std::size_t c = 0; c < 5; ++c) CHECK(double(whole[17 * 5 + c]) == doctest::Approx(0.2));
}

TEST_CASE_TEMPLATE("moments about a mean, also far from the origin", T, float, double) {
  for (const bool full : {false, true}) {
    for (const std::size_t d : {1, 4, 16, 23}) {
      for (const std::size_t n : {1, 2, 31, 300}) {
        const std::size_t stride = padded<T>(d), size = moment_size(d, full);
        AlignedVector<T> x(n * stride, T{0}), mean(stride, T{0}), scratch(moment_scratch(stride));
        std::vector<T> weights(n), shares;
        std::vector<std::uint32_t> rows;
        Stream stream(3, Purpose::data, n * 100 + d);
        for (std::size_t j = 0; j < d; ++j) mean[j] = static_cast<T>(1000 * stream.normal());
        for (std::size_t i = 0; i < n; ++i) {
          weights[i] = static_cast<T>(stream.uniform() + 0.1);
          for (std::size_t j = 0; j < d; ++j) x[i * stride + j] = mean[j] + static_cast<T>(stream.normal());
          if (i % 3 == 1) continue;
          rows.push_back(static_cast<std::uint32_t>(i));
          shares.push_back(static_cast<T>(0.01 + 0.98 * stream.uniform()));
        }
        for (const bool weighted : {false, true}) {
          std::vector<double> sums(size, 1.5), expected(size, 1.5);
          for (std::size_t e = 0; e < rows.size(); ++e) {
            const double z = double(shares[e]), wz = z * (weighted ? double(weights[rows[e]]) : 1.0);
            expected[0] += wz;
            expected[1] -= wz * std::log(z);
            std::size_t at = second_moments(d);
            for (std::size_t i = 0; i < d; ++i) {
              const auto t = [&](std::size_t j) { return double(x[rows[e] * stride + j]) - double(mean[j]); };
              expected[kFirstMoments + i] += wz * t(i);
              for (std::size_t j = full ? 0 : i; j <= i; ++j) expected[at++] += wz * t(i) * t(j);
            }
          }
          add_moments({{x.data(), n, d, stride}, weighted ? weights.data() : nullptr, rows, shares}, mean.data(), full,
                      sums.data(), scratch.data());
          for (std::size_t i = 0; i < size; ++i) {
            CHECK(sums[i] == doctest::Approx(expected[i]).scale(double(n)).epsilon(kTolerance<T>));
          }
        }
      }
    }
  }
}
