#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "steppe/core/views.hpp"
#include "steppe/models/ot/site_pack.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// labels[i] = argmin_j c(x_i, y_j) - phi_j, the lowest index among equals; never n x m in memory, and the same for any
// number of threads. False if a stop was asked for: the labels are then not all there.
template <class T>
bool assign_cells(MatrixView<const T> x, const SitePack<T>& sites, std::span<std::int32_t> labels, Team& team,
                  Control& control);

// |x - y| or its square, summed in double.
template <class T>
double cost_between(std::span<const T> x, std::span<const T> y, bool squared) {
  double square = 0;
#pragma omp simd reduction(+ : square)
  for (std::size_t k = 0; k < x.size(); ++k) {
    const double difference = static_cast<double>(x[k]) - static_cast<double>(y[k]);
    square += difference * difference;
  }
  return squared ? square : std::sqrt(square);
}

// costs[i] = c(x_i, y_label) - phi_label
template <class T>
void costs_of_cells(MatrixView<const T> x, MatrixView<const T> sites, std::span<const double> potential, bool squared,
                    std::span<const std::int32_t> labels, std::span<T> costs, Team& team);

}  // namespace steppe
