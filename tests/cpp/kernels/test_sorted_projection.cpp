#include "steppe/kernels/sorted_projection.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "steppe/core/rng.hpp"
#include "system_blas.hpp"

using namespace steppe;
using kernels::SortedSample;

namespace {

[[maybe_unused]] const bool kHaveBlas = use_system_blas();

template <class T>
std::vector<T> sorted_normals(std::size_t n, std::uint64_t seed) {
  Stream stream(seed, Purpose::data, n);
  std::vector<T> values(n);
  for (T& v : values) v = static_cast<T>(stream.normal());
  std::sort(values.begin(), values.end());
  return values;
}

template <class T>
double distance(const std::vector<T>& x, const std::vector<T>& y, double p) {
  const SortedSample<T> a{x, {}, static_cast<double>(y.size())}, b{y, {}, static_cast<double>(x.size())};
  return kernels::quantile_distance(a, b, p);
}

// Every value as often as makes the sizes equal.
template <class T>
std::vector<T> repeated(const std::vector<T>& values, std::size_t times) {
  std::vector<T> all;
  for (const T v : values) all.insert(all.end(), times, v);
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("project is rows times directions, transposed", T, float, double) {
  Stream stream(0, Purpose::data, 0);
  for (const auto& [n, d, p] : {std::array{7, 5, 3}, std::array{1, 1, 1}, std::array{40, 33, 17}}) {
    const auto rows = static_cast<std::size_t>(n), features = static_cast<std::size_t>(d),
               columns = static_cast<std::size_t>(p);
    std::vector<T> x(rows * features), w(features * (columns + 2)), out(columns * rows);
    for (T& v : x) v = static_cast<T>(stream.normal());
    for (T& v : w) v = static_cast<T>(stream.normal());
    const MatrixView<const T> some(w.data() + 1, features, columns, columns + 2);  // columns of a wider matrix
    kernels::project<T>({x.data(), rows, features}, some, {out.data(), columns, rows});
    for (std::size_t j = 0; j < columns; ++j) {
      for (std::size_t i = 0; i < rows; ++i) {
        double expected = 0;
        for (std::size_t k = 0; k < features; ++k) expected += double{x[i * features + k]} * double{some(k, j)};
        CHECK(double{out[j * rows + i]} == doctest::Approx(expected).epsilon(1e-4));
      }
    }
  }
}

TEST_CASE_TEMPLATE("the distance of equal sizes is the mean power of differences of ranks", T, float, double) {
  for (const std::size_t n : {1, 2, 15, 16, 17, 1000}) {
    const auto x = sorted_normals<T>(n, 1), y = sorted_normals<T>(n, 2);
    for (const double p : {1.0, 2.0, 2.5, 4.0}) {
      double sum = 0;
      for (std::size_t r = 0; r < n; ++r) sum += std::pow(std::abs(double{x[r]} - double{y[r]}), p);
      CHECK(distance(x, y, p) == doctest::Approx(std::pow(sum / double(n), 1 / p)).epsilon(1e-12));
    }
  }
}

TEST_CASE_TEMPLATE("unequal sizes are equal sizes with repeated values", T, float, double) {
  for (const auto& [n, m] : {std::pair{4, 6}, std::pair{1, 9}, std::pair{35, 14}}) {
    const auto x = sorted_normals<T>(static_cast<std::size_t>(n), 1),
               y = sorted_normals<T>(static_cast<std::size_t>(m), 2);
    const auto wide_x = repeated(x, y.size()), wide_y = repeated(y, x.size());
    for (const double p : {1.0, 2.0, 3.0}) {
      CHECK(distance(x, y, p) == doctest::Approx(distance(wide_x, wide_y, p)).epsilon(1e-12));
    }
    std::vector<T> means(x.size());
    kernels::quantile_means<T>({x, {}, double(m)}, {y, {}, double(n)}, means);
    for (std::size_t r = 0; r < x.size(); ++r) {
      double mean = 0;
      for (std::size_t s = 0; s < y.size(); ++s) mean += double{wide_y[r * y.size() + s]} / double(m);
      CHECK(double{means[r]} == doctest::Approx(mean).epsilon(1e-6));
    }
  }
}

TEST_CASE_TEMPLATE("integer weights are repetitions, and zero weights are absent", T, float, double) {
  const std::vector<T> x{-1, 0, 2, 5}, y{-3, 1, 1, 4, 6};
  const std::vector<double> wx{0, 2, 1, 3}, wy{1, 0, 2, 1, 0};
  const std::vector<T> x_repeated{0, 0, 2, 5, 5, 5}, y_repeated{-3, 1, 1, 4};
  for (const double p : {1.0, 2.0, 3.0}) {
    const double weighted = kernels::quantile_distance<T>({x, wx, 4}, {y, wy, 6}, p);
    CHECK(weighted == doctest::Approx(distance(x_repeated, y_repeated, p)).epsilon(1e-12));
  }
}

TEST_CASE("distances keep their scale where powers would leave the range") {
  const double largest = std::numeric_limits<double>::max();
  for (const double scale : {5e-324, 1e-200, 1e-100, 1e100, 1e200, largest / 8}) {
    const std::vector<double> x{0, scale}, y{2 * scale, 3 * scale};
    for (const double p : {1.0, 2.0, 9.0}) CHECK(distance(x, y, p) / scale == doctest::Approx(2));
    const std::vector<double> one{scale};
    for (const double p : {1.0, 2.0, 9.0}) CHECK(distance(one, y, p) >= scale * 0.99);
  }
  const std::vector<double> same{1, 2, 3};
  CHECK(distance(same, same, 2) == 0);
  CHECK(kernels::power_mean(std::vector<double>{0, 0}, 2) == 0);
  CHECK(kernels::power_mean(std::vector<double>{3e200, 4e200}, 2) == doctest::Approx(std::sqrt(12.5) * 1e200));
}
