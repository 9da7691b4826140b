#pragma once

#include <span>

#include "steppe/core/views.hpp"

namespace steppe::cuda {

// Matrices are the device's. Columns are taken in blocks, on two streams in turn, so that memory stays bounded.

// targets[i][j] = the value of column j of y that has the rank of x[i][j] in its column; with unequal numbers of rows
// the mean over that rank's share of the quantiles. Ties of x count in the order of rows.
template <class T>
void sorted_targets(MatrixView<const T> x, MatrixView<const T> y, MatrixView<T> targets);

// distances[j] (of the host) = p-Wasserstein distance of x and y projected on column j of directions; p >= 1. Needs
// cuBLAS.
template <class T>
void sliced_distances(MatrixView<const T> x, MatrixView<const T> y, MatrixView<const T> directions, double p,
                      std::span<double> distances);

// projected[j][i] = x_i . (column j of directions): one row for each direction. Needs cuBLAS.
template <class T>
void project(MatrixView<const T> x, MatrixView<const T> directions, MatrixView<T> projected);

}  // namespace steppe::cuda
