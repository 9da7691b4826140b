#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace steppe::kernels {

// Ratings of one row (a user's, or an item's) and the factors of the other side: row i of those is
// factors[i * stride .. + stride], padded with zeros; stride is a multiple of a cache line.
template <class T>
struct RatedRows {
  const T* factors;
  const T* bias;  // of the other side; null without biases
  std::size_t stride;
  std::span<const std::int32_t> indices;
  std::span<const T> values;
  T mean;
};

// The least-squares problem of one row, x = (factors, bias): minimise 1/2 x' A x - b' x.
template <class T>
struct NormalEquations {
  T* matrix;            // order x order, symmetric, both triangles
  T* right;             // order
  std::size_t order;    // a multiple of a cache line, at least stride, and k + 1 with biases
  std::size_t bias_at;  // where the bias stands: k. Ignored without biases
};

inline constexpr std::size_t kTileRows = 32;

// A = sum f f', b = sum t f over the ratings, where f = (factors of the other side, 1 at bias_at if there are biases)
// and t = value - mean - bias of the other side. Overwrites A and b. `tile` is scratch for kTileRows x stride values.
template <class T>
void form_normal_equations(const RatedRows<T>& rated, const NormalEquations<T>& out, std::span<T> tile);

}  // namespace steppe::kernels
