#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/kernels/cells.hpp"
#include "steppe/models/ot/site_pack.hpp"

using namespace steppe;

namespace {

// Points, sites and potentials, and the naive scores c - phi in long double.
template <class T>
struct Points {
  std::size_t n, m, d;
  bool squared;
  std::vector<T> x, sites;
  std::vector<double> potential;

  Points(std::size_t n_, std::size_t m_, std::size_t d_, bool squared_, double offset = 0)
      : n(n_), m(m_), d(d_), squared(squared_) {
    Stream stream(3, Purpose::data, n * 1000 + m, static_cast<std::uint32_t>(d));
    for (std::size_t e = 0; e < n * d; ++e) x.push_back(static_cast<T>(stream.normal() + offset));
    for (std::size_t e = 0; e < m * d; ++e) sites.push_back(static_cast<T>(stream.normal() + offset));
    for (std::size_t j = 0; j < m; ++j) potential.push_back(stream.normal());
  }

  MatrixView<const T> rows() const { return {x.data(), n, d}; }
  MatrixView<const T> places() const { return {sites.data(), m, d}; }
  SitePack<T> pack() const {
    SitePack<T> pack(places(), squared);
    pack.set_potential(potential);
    return pack;
  }
  long double score(std::size_t i, std::size_t j) const {
    long double square = 0;
    for (std::size_t k = 0; k < d; ++k) {
      const long double difference =
          static_cast<long double>(x[i * d + k]) - static_cast<long double>(sites[j * d + k]);
      square += difference * difference;
    }
    return (squared ? square : std::sqrt(square)) - static_cast<long double>(potential[j]);
  }
  long double least(std::size_t i) const {
    long double least = score(i, 0);
    for (std::size_t j = 1; j < m; ++j) least = std::min(least, score(i, j));
    return least;
  }
};

template <class T>
std::vector<std::int32_t> labels_of(const Points<T>& points, const SitePack<T>& pack) {
  std::vector<std::int32_t> labels(points.n, -1);
  AlignedVector<T> scratch(kernels::assign_scratch<T>(points.d));
  kernels::assign_rows(points.rows(), pack.view(), labels, scratch.data());
  return labels;
}

}  // namespace

TEST_CASE_TEMPLATE("the cell of a row has its smallest score", T, float, double) {
  const double rounding = 20 * static_cast<double>(std::numeric_limits<T>::epsilon());
  for (const bool squared : {true, false}) {
    for (const std::size_t n : {1, 47, 48, 49, 200}) {
      for (const std::size_t m : {1, 7, 8, 9, 100}) {
        for (const std::size_t d : {1, 3, 4, 18}) {
          const Points<T> points(n, m, d, squared);
          const auto labels = labels_of(points, points.pack());
          for (std::size_t i = 0; i < n; ++i) {
            const auto score = points.score(i, static_cast<std::size_t>(labels[i]));
            CHECK(static_cast<double>(score - points.least(i)) <= rounding * static_cast<double>(10 + d));
          }
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("equal sites: the lowest index", T, float, double) {
  for (const bool squared : {true, false}) {
    Points<T> points(100, 10, 5, squared);
    const std::size_t values = points.sites.size();
    for (std::size_t e = 0; e < values; ++e) points.sites.push_back(points.sites[e]);
    for (std::size_t j = 0; j < 10; ++j) points.potential.push_back(points.potential[j]);
    points.m = 20;
    for (const std::int32_t label : labels_of(points, points.pack())) CHECK(label < 10);
  }
}

TEST_CASE_TEMPLATE("a row's cell does not depend on the rows beside it", T, float, double) {
  const Points<T> points(101, 33, 7, true);
  const SitePack<T> pack = points.pack();
  const auto together = labels_of(points, pack);
  AlignedVector<T> scratch(kernels::assign_scratch<T>(points.d));
  for (std::size_t i = 0; i < points.n; ++i) {
    std::vector<std::int32_t> alone(1);
    kernels::assign_rows(MatrixView<const T>(points.x.data() + i * points.d, 1, points.d), pack.view(), alone,
                         scratch.data());
    CHECK(alone[0] == together[i]);
  }
}

TEST_CASE_TEMPLATE("soft shares: masses, values and moments as by definition", T, float, double) {
  const double rounding = std::numeric_limits<T>::digits == 24 ? 2e-4 : 1e-11;
  for (const bool squared : {true, false}) {
    for (const double reg : {3.0, 0.1}) {
      const Points<T> points(70, 19, 6, squared);
      const SitePack<T> pack = points.pack();
      std::vector<T> weights;
      for (std::size_t i = 0; i < points.n; ++i) weights.push_back(static_cast<T>(1 + i % 3));
      std::vector<double> mass(19), moments(19 * 6), moment_mass(19);
      kernels::SpreadSums sums{.mass = mass, .moments = moments, .moment_mass = moment_mass};
      AlignedVector<T> scratch(kernels::spread_scratch(pack.view()));
      kernels::spread_rows(points.rows(), weights.data(), pack.view(), pack.steepness(reg), sums, scratch.data());

      double value = 0, size = 0, total_weight = 0;
      std::vector<double> expected(19), expected_mass(19);
      for (std::size_t i = 0; i < points.n; ++i) {
        double total = 0;
        const double least = static_cast<double>(points.least(i)), weight = static_cast<double>(weights[i]);
        for (std::size_t j = 0; j < 19; ++j) total += std::exp((least - static_cast<double>(points.score(i, j))) / reg);
        for (std::size_t j = 0; j < 19; ++j) {
          const double score = static_cast<double>(points.score(i, j));
          const double share = weight * std::exp((least - score) / reg) / total;
          expected[j] += share;
          expected_mass[j] += squared ? share : share / ((score + points.potential[j]) / pack.unit());
        }
        value += weight * (least - reg * std::log(total));
        size += weight * pack.size_of(points.rows().row(i)) * pack.unit() * pack.unit();
        total_weight += weight;
      }
      CHECK(pack.sum_of_costs(sums.score, size, total_weight) - reg * sums.log_sum ==
            doctest::Approx(value).epsilon(rounding));
      for (std::size_t j = 0; j < 19; ++j) {
        CHECK(mass[j] == doctest::Approx(expected[j]).epsilon(rounding).scale(10));
        CHECK(moment_mass[j] == doctest::Approx(expected_mass[j]).epsilon(rounding).scale(10));
      }
    }
  }
}

TEST_CASE_TEMPLATE("a far row goes to its cell whole and disturbs no other", T, float, double) {
  for (const bool squared : {true, false}) {
    Points<T> points(60, 9, 3, squared);
    const auto before = labels_of(points, points.pack());
    for (std::size_t k = 0; k < 3; ++k) points.x[10 * 3 + k] = k == 0 ? std::numeric_limits<T>::max() / 16 : T(0);
    const SitePack<T> pack = points.pack();
    const auto after = labels_of(points, pack);
    for (std::size_t i = 0; i < points.n; ++i) {
      if (i != 10) CHECK(after[i] == before[i]);
    }
    std::vector<double> mass(9);
    kernels::SpreadSums sums{.mass = mass, .moments = {}, .moment_mass = {}};
    AlignedVector<T> scratch(kernels::spread_scratch(pack.view()));
    kernels::spread_rows<T>(points.rows(), nullptr, pack.view(), pack.steepness(1e-9), sums, scratch.data());
    std::vector<double> expected(9);
    for (const std::int32_t label : after) expected[static_cast<std::size_t>(label)] += 1;
    for (std::size_t j = 0; j < 9; ++j) CHECK(mass[j] == doctest::Approx(expected[j]).epsilon(1e-4).scale(10));
  }
}
