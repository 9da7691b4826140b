#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

#include "cuda/blocks_on_host.hpp"
// Device code, with the names of the header above.
#include "cuda/columns.cuh"
#include "steppe/kernels/sorted_projection.hpp"

using namespace steppe;
using namespace steppe::cuda;

namespace {

std::vector<double> normal(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> distribution;
  std::vector<double> values(size);
  for (double& value : values) value = distribution(random);
  return values;
}

double distance(const std::vector<double>& x, const std::vector<double>& y, double p) {
  double found = -1;
  on_host::run({1}, {kThreads}, [&] {
    quantile_distances<double>(x.data(), y.data(), static_cast<std::int64_t>(x.size()),
                               static_cast<std::int64_t>(y.size()), p, &found);
  });
  return found;
}

}  // namespace

TEST_CASE("transposition of any shape, and of columns inside wider rows") {
  for (const auto& [rows, columns] : std::vector<std::pair<int, int>>{{1, 1}, {33, 70}, {64, 32}, {5, 200}, {200, 5}}) {
    const int stride = columns + 3;
    const std::vector<double> x = normal(static_cast<std::size_t>(rows * stride), 1);
    std::vector<double> transposed(static_cast<std::size_t>(rows * columns));
    const auto patches = static_cast<unsigned>((rows + kPatch - 1) / kPatch * ((columns + kPatch - 1) / kPatch));
    on_host::run({patches}, {kPatch, 8},
                 [&, n = columns, m = rows] { transpose<double>(x.data(), m, stride, n, transposed.data()); });
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < columns; ++j) {
        CHECK(transposed[static_cast<std::size_t>(j * rows + i)] == x[static_cast<std::size_t>(i * stride + j)]);
      }
    }
  }
}

TEST_CASE("sorted columns are scattered back to the rows they came from") {
  constexpr int n = 50, m = 20, columns = 3, stride = 4;
  const std::vector<double> x = normal(n * columns, 2);
  std::vector<double> y = normal(m * columns, 3);
  std::vector<std::int32_t> numbers(n * columns);
  on_host::run({1}, {kThreads}, [&] { number_rows(n, n * columns, numbers.data()); });
  std::vector<double> targets(n * stride, -7);
  for (int j = 0; j < columns; ++j) {
    std::sort(y.begin() + j * m, y.begin() + (j + 1) * m);
    std::sort(numbers.begin() + j * n, numbers.begin() + (j + 1) * n, [&](int a, int b) {
      return x[static_cast<std::size_t>(j * n + a)] < x[static_cast<std::size_t>(j * n + b)];
    });
  }
  on_host::run({2}, {kThreads},
               [&] { scatter<double>(numbers.data(), y.data(), n, m, columns, stride, targets.data()); });
  for (int j = 0; j < columns; ++j) {
    std::vector<double> sorted(x.begin() + j * n, x.begin() + (j + 1) * n), means(n);
    std::sort(sorted.begin(), sorted.end());
    const kernels::SortedSample<double> xs{.values = sorted, .weights = {}, .scale = m};
    const kernels::SortedSample<double> ys{
        .values = std::span(y).subspan(static_cast<std::size_t>(j * m), m), .weights = {}, .scale = n};
    kernels::quantile_means<double>(xs, ys, means);
    for (int i = 0; i < n; ++i) {
      const auto rank =
          std::lower_bound(sorted.begin(), sorted.end(), x[static_cast<std::size_t>(j * n + i)]) - sorted.begin();
      CHECK(targets[static_cast<std::size_t>(i * stride + j)] ==
            doctest::Approx(means[static_cast<std::size_t>(rank)]));
    }
  }
  for (int i = 0; i < n; ++i) CHECK(targets[static_cast<std::size_t>(i * stride + columns)] == -7);
}

TEST_CASE("distances of quantiles are the CPU's, at any scale") {
  for (const auto& [n, m] :
       std::vector<std::pair<std::size_t, std::size_t>>{{1, 1}, {300, 300}, {700, 20}, {20, 700}}) {
    std::vector<double> x = normal(n, 4), y = normal(m, 5);
    std::sort(x.begin(), x.end());
    std::sort(y.begin(), y.end());
    for (const double p : {1.0, 2.0, 3.5, 60.0}) {
      for (const double scale : {1.0, 0x1p-600, 0x1p600}) {
        std::vector<double> xs = x, ys = y;
        for (double& value : xs) value *= scale;
        for (double& value : ys) value *= scale;
        const kernels::SortedSample<double> of_x{.values = xs, .weights = {}, .scale = static_cast<double>(m)};
        const kernels::SortedSample<double> of_y{.values = ys, .weights = {}, .scale = static_cast<double>(n)};
        CHECK(distance(xs, ys, p) / scale == doctest::Approx(kernels::quantile_distance(of_x, of_y, p) / scale));
      }
    }
    CHECK(distance(x, x, 2) == 0);
  }
}

TEST_CASE("what overflowed makes no finite distance, whichever thread meets it") {
  constexpr double infinite = std::numeric_limits<double>::infinity();
  for (const std::size_t at : {0, 1, 255, 256, 299}) {
    for (const double bad : {infinite, -infinite, std::nan("")}) {
      std::vector<double> x(300), y(300, 1.0);
      x[at] = bad;
      CHECK(!std::isfinite(distance(x, y, 2)));
      y[at] = bad;
      CHECK(!std::isfinite(distance(x, y, 2)));
    }
  }
}
