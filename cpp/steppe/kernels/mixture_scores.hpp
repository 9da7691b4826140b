#pragma once

#include <cstddef>
#include <cstdint>

#include "steppe/core/views.hpp"

namespace steppe::kernels {

// Gaussian components k of a mixture as rows meet them:
//
//   score_k(x) = constant_k - |F_k x - o_k|^2,   o_k = F_k mean_k,
//
// with F_k diagonal or lower triangular, half the precision being F_k' F_k. Subtracting before squaring keeps what
// squares that are expanded lose where a mean is far from the origin, at the same number of operations.
template <class T>
struct GaussiansView {
  std::size_t n_components, n_features;
  bool full;
  const T* constants;  // (n_components)
  const T* factors;    // diagonal: (n_components, n_features); triangular: n_components of what pack_triangle() writes
  const T* offsets;    // (n_components, offset_stride(n_features, full))
};

// A lower triangle F (n_features x n_features, row-major) for GaussiansView: four rows of F side by side, up to the
// diagonal; absent rows are zero.
std::size_t triangle_size(std::size_t n_features) noexcept;
template <class T>
void pack_triangle(MatrixView<const double> f, T* packed);
// Rounded up to four in the triangular case; what is beyond n_features is zero.
std::size_t offset_stride(std::size_t n_features, bool full) noexcept;

// For each component the rows that have a share of it, in order, with these shares.
template <class T>
struct ShareLists {
  std::uint32_t* rows = nullptr;    // (n_components, capacity)
  T* shares = nullptr;              // (n_components, capacity)
  std::uint32_t* counts = nullptr;  // (n_components)
  std::size_t capacity = 0;
};

// What to find out about rows; what is null is left out.
template <class T>
struct MixtureOutputs {
  T* log_sums = nullptr;           // log sum_k exp(score_k)
  std::int32_t* labels = nullptr;  // the component of the highest score, the first of equals
  MatrixView<T> probabilities;     // (rows, n_components): exp(score_k - log_sum)
  ShareLists<T> lists;             // mass times these probabilities, without those that are next to nothing
  const T* mass = nullptr;         // of each row, for the lists; null is one each
};

// Of a row's largest probability: smaller ones are zero. A row's result does not depend on the rows around it.
template <class T>
inline constexpr T kNegligibleShare = sizeof(T) == 4 ? T(1e-10) : T(1e-20);

// x: centred rows, at most `capacity` of them. `scratch` has mixture_scratch values, at the start of a cache line.
// Counts of lists are set, not added to.
template <class T>
std::size_t mixture_scratch(std::size_t n_components, std::size_t n_features) noexcept;
template <class T>
void assess_rows(MatrixView<const T> x, const GaussiansView<T>& gaussians, const MixtureOutputs<T>& outputs,
                 T* scratch);

}  // namespace steppe::kernels
