#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/aligned.hpp"
#include "steppe/core/views.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// Pairs of points; c_k = points[first] - points[second]. Views: the caller keeps the arrays. The same on every rank.
template <class T>
struct PointPairs {
  MatrixView<const T> points;            // (P, d)
  MatrixView<const std::int64_t> pairs;  // (C, 2), rows of `points`
  // L of the prior A0 = L L' (d x d, lower triangle), or empty for the identity. Vectors become z = L' c.
  MatrixView<const double> prior;

  std::size_t n_pairs() const noexcept { return pairs.rows(); }
  std::size_t n_features() const noexcept { return points.cols(); }
};

// The squared lengths of the differences c_k.
template <class T>
void squared_distances(const PointPairs<T>& data, std::span<double> out, Team& team);

// The vectors z_k as rows (C x d).
template <class T>
AlignedVector<T> difference_rows(const PointPairs<T>& data, Team& team);

// M += sum_k weight_k z_k z_k' over the rows z_k, at least the lower triangle; the same bits whatever the threads.
template <class T>
void add_scatter(MatrixView<double> m, MatrixView<const T> rows, std::span<const double> weights, Team& team);

// The span of all differences, of dimension r < P however many features there are: products and coordinates in an
// orthonormal basis, found from the Gram matrix of the points (centred) or of the differences, whichever is smaller.
// The Gram matrix is made in double precision, from slabs of features that the ranks share out; no d x d is formed.
template <class T>
class DifferenceSpan {
 public:
  DifferenceSpan(const PointPairs<T>& data, Link& link, Team& team);  // collective

  AlignedVector<T> products() const;  // C' C (C x C); before factorise()
  // Coordinates exist from then on; the Gram matrix is used up.
  void factorise();
  std::size_t rank() const noexcept { return rank_; }
  std::size_t n_features() const noexcept { return data_.n_features(); }
  AlignedVector<double> coordinates() const;  // (C, r)
  // E Q' (k x d) for E (k x r) in the coordinates of the basis Q; `out` has k rows of d.
  void to_features(MatrixView<double> e, MatrixView<T> out) const;

 private:
  void fill(std::size_t row, std::size_t begin, std::span<double> out) const;
  void find_mean();
  void add_slab(MatrixView<double> gram, std::size_t begin, std::size_t end) const;
  void find_gram(Link& link);

  PointPairs<T> data_;
  Team& team_;
  bool of_points_;
  std::size_t n_, rank_ = 0;
  std::vector<double> mean_;
  AlignedVector<double> gram_;  // (n, n); then L in its lower trapezoid
  std::vector<int> pivots_;
};

}  // namespace steppe
