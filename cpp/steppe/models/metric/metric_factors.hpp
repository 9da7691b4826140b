#pragma once

#include "steppe/core/array_map.hpp"
#include "steppe/models/metric/differences.hpp"

namespace steppe {

// Up to so many features a metric is returned as a d x d matrix; beyond, as factors, and none such is ever made.
inline constexpr std::size_t kDenseFeatures = 4000;

// "components" (d, d), with components' components = A = L M^-1 L'. L is the prior's factor or empty; `m` is used up.
// Throws InvalidArgument if M is not positive definite; Stopped as in differences.hpp.
template <class T>
ArrayMap dense_metric(AlignedVector<double>& m, std::size_t d, MatrixView<const double> prior, Team& team,
                      Pacer* pacer = nullptr);

// "components" (d, d) from those in double.
template <class T>
ArrayMap dense_metric(MatrixView<const double> components);

// "basis" (k, d), orthonormal rows, and "eigenvalues" (k,) of A = scale I + sum_i (eigenvalue_i - scale) b_i b_i', from
// the matrix of A (or of A^-1 if `inverse`) in the span's coordinates. Directions in which A is `scale` are left out.
template <class T>
ArrayMap factored_metric(const DifferenceSpan<T>& span, AlignedVector<double>& matrix, bool inverse, double scale,
                         Pacer* pacer = nullptr);

}  // namespace steppe
