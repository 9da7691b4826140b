#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "steppe/comm/link.hpp"
#include "steppe/core/views.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// One of two samples that are compared: this rank's rows (n, D), and the weights of the rows of all ranks, in rank
// order; no weights are equal ones.
template <class T>
struct SlicedSample {
  MatrixView<const T> rows;
  std::span<const double> weights;
};

struct SlicedParams {
  double p = 2;
  std::size_t block_columns = 0;  // projections at a time for each thread; 0: by memory, see block_bytes
};

// distances[j] = p-Wasserstein distance of the two samples projected on column j of directions (D, p). Collective, and
// equal on all ranks: rows are projected where they are, columns travel to the rank that sorts them. Needs set_blas()
// and a BLAS on one thread. A stopped run leaves the distances unfinished.
template <class T>
void sliced_distances(const SlicedSample<T>& x, const SlicedSample<T>& y, MatrixView<const T> directions,
                      const SlicedParams& params, Team& team, Link& link, Control& control,
                      std::span<double> distances);

// targets[i][j] = the value of column j of y that has the rank of x[i][j] in its column; with unequal numbers of rows
// the mean over that rank's share of the quantiles. Ties of x count in the order of rows. Collective; each rank passes
// its rows of x, y and targets.
template <class T>
void sorted_targets(MatrixView<const T> x, MatrixView<const T> y, Team& team, Link& link, Control& control,
                    MatrixView<T> targets);

// Columns of directions (D, p), uniform on the sphere. Column j depends on the seed and j alone.
template <class T>
void random_directions(std::uint64_t seed, Team& team, MatrixView<T> directions);

// Columns (x_i - y_j) / |x_i - y_j| of random pairs. Where a pair is one and the same point another is drawn; after 32
// of them the column is uniform on the sphere.
template <class T>
void pair_directions(MatrixView<const T> x, MatrixView<const T> y, std::uint64_t seed, Team& team,
                     MatrixView<T> directions);

}  // namespace steppe
