#include <algorithm>
#include <cmath>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/models/ot/sliced_wasserstein.hpp"

namespace steppe {
namespace {

constexpr int kTries = 32;
constexpr std::uint32_t kOfSphere = 0, kOfPairs = 1;  // steps of the streams

// Scales to length 1; false if all are zero. The largest is taken out first, so that no square leaves the range.
bool normalise(std::span<double> direction) {
  double largest = 0, sum = 0;
  for (const double v : direction) largest = std::max(largest, std::abs(v));
  if (largest == 0) return false;
  for (double& v : direction) {
    v /= largest;
    sum += v * v;
  }
  for (double& v : direction) v /= std::sqrt(sum);
  return true;
}

// Box and Muller, both numbers of each pair.
void draw_on_sphere(std::uint64_t seed, std::size_t column, std::span<double> direction) {
  Stream stream(seed, Purpose::sample, column, kOfSphere);
  do {
    for (std::size_t k = 0; k < direction.size(); k += 2) {
      const double radius = std::sqrt(-2.0 * std::log1p(-stream.uniform()));
      const double angle = 6.283185307179586 * stream.uniform();
      direction[k] = radius * std::cos(angle);
      if (k + 1 < direction.size()) direction[k + 1] = radius * std::sin(angle);
    }
  } while (!normalise(direction));
}

template <class T>
void draw_pair(MatrixView<const T> x, MatrixView<const T> y, std::uint64_t seed, std::size_t column,
               std::span<double> direction) {
  Stream stream(seed, Purpose::sample, column, kOfPairs);
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const auto a = x.row(stream.below(static_cast<std::uint32_t>(x.rows())));
    const auto b = y.row(stream.below(static_cast<std::uint32_t>(y.rows())));
    for (std::size_t k = 0; k < direction.size(); ++k) direction[k] = 0.5 * double{a[k]} - 0.5 * double{b[k]};
    if (normalise(direction)) return;
  }
  draw_on_sphere(seed, column, direction);
}

template <class T, class Draw>
void fill_columns(MatrixView<T> directions, Team& team, Draw&& draw) {
  team.parallel_for(directions.cols(), 16, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    std::vector<double> direction(directions.rows());
    for (std::size_t j = begin; j < end; ++j) {
      draw(j, std::span<double>(direction));
      for (std::size_t k = 0; k < direction.size(); ++k) directions(k, j) = static_cast<T>(direction[k]);
    }
  });
}

}  // namespace

template <class T>
void random_directions(std::uint64_t seed, Team& team, MatrixView<T> directions) {
  fill_columns(directions, team,
               [&](std::size_t j, std::span<double> direction) { draw_on_sphere(seed, j, direction); });
}

template <class T>
void pair_directions(MatrixView<const T> x, MatrixView<const T> y, std::uint64_t seed, Team& team,
                     MatrixView<T> directions) {
  fill_columns(directions, team,
               [&](std::size_t j, std::span<double> direction) { draw_pair(x, y, seed, j, direction); });
}

template void random_directions(std::uint64_t, Team&, MatrixView<float>);
template void random_directions(std::uint64_t, Team&, MatrixView<double>);
template void pair_directions(MatrixView<const float>, MatrixView<const float>, std::uint64_t, Team&,
                              MatrixView<float>);
template void pair_directions(MatrixView<const double>, MatrixView<const double>, std::uint64_t, Team&,
                              MatrixView<double>);

}  // namespace steppe
