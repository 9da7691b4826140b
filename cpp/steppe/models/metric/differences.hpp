#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/aligned.hpp"
#include "steppe/core/views.hpp"
#include "steppe/runtime/control.hpp"
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

// Where a function below takes a pacer, it throws Stopped (polling.hpp) if a stop is asked for; null asks nobody.

// The squared lengths of the differences c_k.
template <class T>
void squared_distances(const PointPairs<T>& data, std::span<double> out, Team& team, Pacer* pacer = nullptr);

// Fills `rows` with the vectors z_k, k = first and on.
using VectorRows = std::function<void(std::size_t first, MatrixView<double> rows)>;

// Of the differences, made when asked for; held only where there is a prior.
template <class T>
VectorRows difference_rows(const PointPairs<T>& data, Team& team, Pacer* pacer = nullptr);

// Of vectors (C x m) that exist.
VectorRows stored_rows(AlignedVector<double> vectors, std::size_t m);

// M += sum_k weight_k z_k z_k', at least the lower triangle; the same bits whatever the threads.
void add_scatter(MatrixView<double> m, const VectorRows& rows, std::span<const double> weights, Team& team,
                 Pacer* pacer = nullptr);

// The span of all differences, of dimension r < P however many features there are: products and coordinates in an
// orthonormal basis, found from the Gram matrix of the points (centred) or of the differences, whichever is smaller.
// The Gram matrix is made in double precision, from slabs of features that the ranks share out; no d x d is formed.
// Beside it there is one slab's (n x n), and some rows of another rank's.
template <class T>
class DifferenceSpan {
 public:
  // Collective; a stop on one rank is one on all.
  DifferenceSpan(const PointPairs<T>& data, Link& link, Team& team, Pacer* pacer = nullptr);

  AlignedVector<double> products(Pacer* pacer = nullptr) const;  // C' C (C x C); before factorise()
  // Coordinates exist from then on; the Gram matrix is used up.
  void factorise(Pacer* pacer = nullptr);
  std::size_t rank() const noexcept { return rank_; }
  std::size_t n_features() const noexcept { return data_.n_features(); }
  AlignedVector<double> coordinates() const;  // (C, r)
  // E Q' (k x d) for E (k x r) in the coordinates of the basis Q; `out` has k rows of d.
  void to_features(MatrixView<double> e, MatrixView<T> out, Pacer* pacer = nullptr) const;

 private:
  void fill(std::size_t row, std::size_t begin, std::span<double> out) const;
  void find_mean(Pacer* pacer);
  void add_slab(MatrixView<double> gram, std::size_t begin, std::size_t end, Pacer* pacer) const;
  void find_gram(Link& link, Pacer* pacer);
  void add_to_gram(MatrixView<double> slab, std::uint32_t owner, Link& link);

  PointPairs<T> data_;
  Team& team_;
  bool of_points_;
  std::size_t n_, rank_ = 0;
  std::vector<double> mean_;
  AlignedVector<double> gram_;  // (n, n); then L in its lower trapezoid
  std::vector<int> pivots_;
};

}  // namespace steppe
