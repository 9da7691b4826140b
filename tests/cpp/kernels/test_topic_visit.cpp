#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/core/special_functions.hpp"
#include "steppe/kernels/gamma_functions.hpp"
#include "steppe/kernels/logarithm.hpp"
#include "steppe/kernels/topic_visit.hpp"

using namespace steppe;

namespace {

// One word's entries in some documents, with their z and sums, padded.
template <class T>
struct Case {
  std::size_t k, stride, n;
  AlignedVector<T> alpha, gamma, lambda, totals, change, scratch;
  std::vector<std::int32_t> documents;
  std::vector<T> counts;
  std::vector<typename kernels::Share<T>::Stored> z;
  AlignedVector<T> noise;
  T eta = T(0.05), eta_total = T(1.5);
  bool noisy = false;

  Case(std::size_t n_topics, std::size_t n_entries, bool with_noise = false)
      : k(n_topics), stride(padded<T>(n_topics)), n(n_entries), alpha(stride), gamma((2 * n + 1) * stride),
        lambda(stride, eta), totals(stride, eta_total), change(stride), scratch(4 * stride + k), z(n * stride),
        noise(8 * stride), noisy(with_noise) {
    Stream stream(3, Purpose::data, n_topics, static_cast<std::uint32_t>(n_entries));
    const auto draw = [&](double most) { return static_cast<T>(most * (0.01 + stream.uniform())); };
    for (T& x : noise) x = draw(2);
    for (std::size_t i = 0; i < k; ++i) {
      alpha[i] = draw(0.3);
      lambda[i] += draw(3);
      totals[i] += draw(9);
    }
    for (std::size_t e = 0; e < n; ++e) {
      documents.push_back(static_cast<std::int32_t>(2 * e + 1));
      counts.push_back(static_cast<T>(1 + e % 3));
      std::vector<double> p(k);
      for (double& x : p) x = -std::log1p(-stream.uniform());
      const double sum = std::accumulate(p.begin(), p.end(), 0.0);
      T* const row = &gamma[(2 * e + 1) * stride];
      for (std::size_t i = 0; i < k; ++i) {
        z[e * stride + i] = kernels::Share<T>::write(static_cast<T>(p[i] / sum));
        const T share = kernels::Share<T>::read(z[e * stride + i]);
        row[i] = alpha[i] + counts[e] * share + draw(4);
        lambda[i] += counts[e] * share;
        totals[i] += counts[e] * share;
      }
    }
  }

  kernels::WordTopics<T> word() { return {lambda.data(), totals.data(), change.data(), eta, eta_total}; }
  kernels::TopicNoise<T> noise_rows() const { return {noisy ? noise.data() : nullptr, 3, 77}; }
  kernels::TopicDocuments<T> rows() { return {gamma.data(), alpha.data(), stride}; }
  double share(std::size_t e, std::size_t i) const { return double(kernels::Share<T>::read(z[e * stride + i])); }

  // The formulas of the header in double; lambda and totals are those from before each `together` entries (collapsed:
  // the last ones, fewer than that, go one by one), and of the new z only the `kept` largest stay.
  struct Sums {
    std::vector<std::vector<double>> z;
    std::vector<double> gamma, change;
  };
  Sums oracle(bool collapsed, std::size_t together, std::size_t kept) const {
    Sums sums{{}, {gamma.begin(), gamma.end()}, std::vector<double>(stride)};
    std::vector<double> seen(stride);
    for (std::size_t e = 0; e < n; ++e) {
      if (e % together == 0 || (collapsed && e >= n / together * together)) seen = sums.change;
      double* const g = &sums.gamma[static_cast<std::size_t>(documents[e]) * stride];
      const T* const factor = noise.data() + noise_rows().row_of(documents[e]) * stride;
      std::vector<double> p(k);
      for (std::size_t i = 0; i < k; ++i) {
        const double own = share(e, i), of_word = double(lambda[i]) + seen[i], of_all = double(totals[i]) + seen[i];
        p[i] = collapsed ? std::max(g[i] - own, double(alpha[i])) * std::max(of_word - own, double(eta)) /
                               std::max(of_all - own, double(eta_total))
                         : std::exp(digamma(g[i]) + digamma(of_word) - digamma(of_all));
        if (noisy && collapsed) p[i] *= double(factor[i]);
      }
      std::vector<std::size_t> order(k);
      std::iota(order.begin(), order.end(), 0);
      std::ranges::stable_sort(order, [&](auto a, auto b) { return p[a] > p[b]; });
      for (std::size_t r = kept; r < k; ++r) p[order[r]] = 0;
      const double sum = std::accumulate(p.begin(), p.end(), 0.0);
      for (std::size_t i = 0; i < k; ++i) {
        p[i] /= sum;
        const double delta = double(counts[e]) * (p[i] - share(e, i));
        g[i] += delta;
        sums.change[i] += delta;
      }
      sums.z.push_back(p);
    }
    return sums;
  }

  void compare(const Sums& expected, const auto& z_of) const {
    const double close = sizeof(T) == 4 ? 2e-4 : 1e-10;  // float: z is rounded to 2^-15
    for (std::size_t e = 0; e < n; ++e) {
      for (std::size_t i = 0; i < k; ++i) CHECK(z_of(e, i) == doctest::Approx(expected.z[e][i]).epsilon(close));
    }
    for (std::size_t i = 0; i < k; ++i) {
      CHECK(std::abs(double(change[i]) - expected.change[i]) < close * double(n + 1));
    }
    for (std::size_t j = 0; j < gamma.size(); ++j) CHECK(std::abs(double(gamma[j]) - expected.gamma[j]) < 10 * close);
  }
};

}  // namespace

TEST_CASE("functions of gamma and logarithms") {
  for (double x = 0.02; x < 1e6; x *= 1.03) {
    CHECK(kernels::exp_digamma(x) == doctest::Approx(std::exp(digamma(x))).epsilon(2e-12));
    CHECK(double(kernels::exp_digamma(float(x))) == doctest::Approx(std::exp(digamma(double(float(x))))).epsilon(5e-6));
    CHECK(std::abs(log_gamma(x) - std::lgamma(x)) <= 1e-13 * (1 + std::abs(std::lgamma(x))));
  }
  CHECK(kernels::exp_digamma(0.0) == 0);
  CHECK(kernels::exp_digamma(0.0f) == 0);
  for (double x = 1e-30; x < 1e30; x *= 1.7) {
    CHECK(std::abs(kernels::logarithm(x) - std::log(x)) <= 1e-15 * (1 + std::abs(std::log(x))));
    const auto single = float(x);
    CHECK(std::abs(double(kernels::logarithm(single)) - std::log(double(single))) <=
          2e-7 * (1 + std::abs(std::log(double(single)))));
  }
}

TEST_CASE("stored topics: the error is at most 2^-16, zero and one are exact") {
  using S = kernels::Share<float>;
  CHECK(S::read(S::write(0.0f)) == 0);
  CHECK(S::read(S::write(1.0f)) == 1);
  for (int i = 0; i <= 100000; ++i) {
    const float z = float(i) / 100000.0f;
    CHECK(std::abs(double(S::read(S::write(z))) - double(z)) <= 0x1p-16 * 1.001);
  }
}

TEST_CASE_TEMPLATE("visits equal the formulas, for any number of topics and entries", T, float, double) {
  for (const std::size_t k : {1, 3, 16, 20, 64}) {
    for (const std::size_t n : {0, 1, 3, 4, 9, 70}) {
      for (const bool noisy : {false, true}) {
        CAPTURE(k);
        CAPTURE(n);
        Case<T> data(k, n, noisy);
        const auto expected = data.oracle(true, 4, k);
        kernels::collapsed_visit(data.rows(), {data.documents, data.counts, data.z.data()}, data.word(),
                                 data.noise_rows(), data.scratch.data());
        data.compare(expected, [&](auto e, auto i) { return data.share(e, i); });
      }
      Case<T> data(k, n);
      const auto expected = data.oracle(false, 32, k);
      kernels::mean_field_visit(data.rows(), {data.documents, data.counts, data.z.data()}, data.word(),
                                data.scratch.data());
      data.compare(expected, [&](auto e, auto i) { return data.share(e, i); });
    }
  }
}

TEST_CASE_TEMPLATE("truncated visits keep the largest topics", T, float, double) {
  for (const std::size_t k : {1, 5, 20, 64}) {
    for (const std::size_t kept : {std::size_t{1}, std::size_t{3}, k}) {
      if (kept > k) continue;
      for (const bool collapsed : {true, false}) {
        for (const bool noisy : {false, true}) {
          CAPTURE(k);
          CAPTURE(kept);
          CAPTURE(collapsed);
          Case<T> data(k, 40, noisy && collapsed);
          std::vector<std::uint16_t> topics(data.n * kept);
          std::vector<typename kernels::Share<T>::Stored> z(data.n * kept);
          // As if all entries had kept just these topics so far.
          for (std::size_t e = 0; e < data.n; ++e) {
            for (std::size_t i = 0; i < k; ++i) {
              if (i < kept) {
                topics[e * kept + i] = static_cast<std::uint16_t>(i);
                z[e * kept + i] = data.z[e * data.stride + i];
              } else {
                data.z[e * data.stride + i] = 0;
              }
            }
          }
          const auto expected = data.oracle(collapsed, collapsed ? 1 : 32, kept);
          std::vector<std::int32_t> best(kept);
          kernels::truncated_visit(data.rows(), {data.documents, data.counts, topics.data(), z.data(), kept},
                                   data.word(), data.noise_rows(), collapsed, {data.scratch.data(), best.data()});
          data.compare(expected, [&](std::size_t e, std::size_t i) {
            double share = 0;
            for (std::size_t r = 0; r < kept; ++r) {
              if (topics[e * kept + r] == i) share += double(kernels::Share<T>::read(z[e * kept + r]));
            }
            return share;
          });
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("entropy of topics", T, float, double) {
  Case<T> data(20, 9);
  double expected = 0;
  for (std::size_t e = 0; e < data.n; ++e) {
    for (std::size_t i = 0; i < data.k; ++i) {
      const double z = data.share(e, i);
      if (z > 0) expected -= double(data.counts[e]) * z * std::log(z);
    }
  }
  const double found = kernels::topic_entropy(std::span<const T>(data.counts), data.z.data(), data.stride);
  CHECK(found == doctest::Approx(expected).epsilon(sizeof(T) == 4 ? 1e-6 : 1e-13));
}

TEST_CASE("a word that no topic can have keeps its topics") {
  Case<float> data(5, 3);
  const auto before = data.z;
  data.eta = data.eta_total = 1e-4f;  // exp(digamma) of it is 0 in float
  std::ranges::fill(data.lambda, data.eta);
  kernels::mean_field_visit(data.rows(), {data.documents, data.counts, data.z.data()}, data.word(),
                            data.scratch.data());
  CHECK(data.z == before);
}
