#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/kernels/topic_fold.hpp"

using namespace steppe;

namespace {

template <class T>
struct Case {
  std::size_t n_topics, stride;
  std::vector<std::int32_t> words{4, 0, 2};
  std::vector<T> counts{T(3), T(1), T(0.5)};
  std::vector<T> topics, theta;

  explicit Case(std::size_t k) : n_topics(k), stride((k + 15) / 16 * 16), topics(5 * stride), theta(stride) {
    Stream stream(7, Purpose::data, k);
    for (std::size_t v = 0; v < 5; ++v) {
      for (std::size_t i = 0; i < k; ++i) topics[v * stride + i] = static_cast<T>(stream.uniform());
    }
    for (std::size_t i = 0; i < k; ++i) theta[i] = static_cast<T>(stream.uniform());
  }

  SparseRow<T> row() const { return {words, counts}; }
  double weight(std::size_t n, std::size_t k) const {
    return static_cast<double>(theta[k]) * static_cast<double>(topics[static_cast<std::size_t>(words[n]) * stride + k]);
  }
  double total(std::size_t n) const {
    double sum = 0;
    for (std::size_t k = 0; k < n_topics; ++k) sum += weight(n, k);
    return sum;
  }
};

}  // namespace

TEST_CASE_TEMPLATE("a document's shares of topics, by topic and by word", T, float, double) {
  const double epsilon = std::is_same_v<T, float> ? 1e-5 : 1e-13;
  for (const std::size_t k : {1u, 5u, 16u, 33u}) {
    const Case<T> one(k);
    std::vector<T> folded(one.stride, T(-1));
    kernels::fold_document(one.row(), one.topics.data(), one.stride, one.theta.data(), folded.data());
    std::vector<double> sums(5 * k, 10.0);
    const double likelihood =
        kernels::add_folded(one.row(), one.topics.data(), one.stride, one.theta.data(), k, sums.data());

    double expected_likelihood = 0;
    std::vector<double> by_topic(k), by_word(5 * k, 10.0);
    for (std::size_t n = 0; n < 3; ++n) {
      const auto count = static_cast<double>(one.counts[n]);
      expected_likelihood += count * std::log(one.total(n));
      for (std::size_t i = 0; i < k; ++i) {
        const double share = count * one.weight(n, i) / one.total(n);
        by_topic[i] += share;
        by_word[static_cast<std::size_t>(one.words[n]) * k + i] += share;
      }
    }
    CHECK(likelihood == doctest::Approx(expected_likelihood).epsilon(epsilon));
    for (std::size_t i = 0; i < k; ++i) CHECK(double(folded[i]) == doctest::Approx(by_topic[i]).epsilon(epsilon));
    for (std::size_t i = 0; i < 5 * k; ++i) CHECK(sums[i] == doctest::Approx(by_word[i]).epsilon(epsilon));
    for (std::size_t i = k; i < one.stride; ++i) CHECK(folded[i] == T(0));
  }
}

TEST_CASE_TEMPLATE("a word that no topic gives weight is left out", T, float, double) {
  Case<T> one(4);
  for (std::size_t i = 0; i < one.stride; ++i) one.topics[i] = T(0);  // word 0
  std::vector<T> folded(one.stride);
  kernels::fold_document(one.row(), one.topics.data(), one.stride, one.theta.data(), folded.data());
  double mass = 0;
  for (const T value : folded) mass += static_cast<double>(value);
  CHECK(mass == doctest::Approx(3.5).epsilon(1e-5));
  std::vector<double> sums(20);
  const double likelihood =
      kernels::add_folded(one.row(), one.topics.data(), one.stride, one.theta.data(), 4, sums.data());
  CHECK(std::isfinite(likelihood));
  CHECK(likelihood < std::log(static_cast<double>(std::numeric_limits<T>::min())) / 2);
  for (std::size_t i = 0; i < 4; ++i) CHECK(sums[i] == 0);
}
