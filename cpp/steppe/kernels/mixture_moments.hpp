#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "steppe/core/views.hpp"

namespace steppe::kernels {

// What the rows add to a component of which they have shares z, each counted w times, about a mean m, t = x - m:
//
//   [ sum w z,  -sum w z log z,  sum w z t (d),  sum w z t t' ],
//
// the last one the squares (d) or the lower triangle, row by row (d (d + 1) / 2).
constexpr std::size_t moment_size(std::size_t d, bool full) { return 2 + d + (full ? d * (d + 1) / 2 : d); }
inline constexpr std::size_t kFirstMoments = 2;
constexpr std::size_t second_moments(std::size_t d) { return kFirstMoments + d; }

// Sums of that many rows are made in T, and added in double precision.
inline constexpr std::size_t kMomentRows = 512;

template <class T>
struct SharedRows {
  MatrixView<const T> x;                // each row is zero from cols() to stride(), which is a multiple of a cache line
  const T* weights;                     // of the rows of x; null is one each
  std::span<const std::uint32_t> rows;  // at most kMomentRows numbers of rows of x
  std::span<const T> shares;            // positive
};

// Adds to `sums` (moment_size). `mean` is as long as a row's stride. About the rows' own mean nothing cancels, wherever
// it lies. `scratch` has moment_scratch values.
constexpr std::size_t moment_scratch(std::size_t stride) { return kMomentRows * (2 * stride + 1); }
void add_moments(const SharedRows<float>& shared, const float* mean, bool full, double* sums, float* scratch);
void add_moments(const SharedRows<double>& shared, const double* mean, bool full, double* sums, double* scratch);

}  // namespace steppe::kernels
