#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "steppe/core/views.hpp"
#include "steppe/models/ot/site_pack.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/device.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// Weighted points of one rank: a measure, or its part there. Owned by the caller.
template <class T>
struct WeightedPoints {
  MatrixView<const T> x;
  std::span<const T> weights;  // not normalised; empty: ones

  double weight(std::size_t i) const noexcept { return weights.empty() ? 1.0 : static_cast<double>(weights[i]); }
};

// Sums over a rank's points, each times its weight.
struct CellSums {
  double value = 0;          // of the transformed potential, see TransportDual
  double weight = 0;         // 1
  std::vector<double> mass;  // n_sites: the point's share of each cell
};

// One measure's part of the dual: the transformed potential and the masses of the cells. Sums are made over fixed
// pieces of the points, in order, so they do not depend on threads. All methods return nothing if a stop was asked for.
template <class T>
class TransportDual {
 public:
  TransportDual(const WeightedPoints<T>& points, MatrixView<const T> sites, bool squared, bool on_device, Team& team);

  std::size_t size() const noexcept { return points_.x.rows(); }
  // Rows 0, stride, 2 stride, ...
  std::size_t size(std::size_t stride) const noexcept { return (size() + stride - 1) / stride; }

  // value = min_j c(x, y_j) - phi_j; each point is in one cell whole.
  std::optional<CellSums> hard(std::span<const double> potential, std::size_t stride, Control& control);
  // value = -reg log sum_j exp((phi_j - c(x, y_j)) / reg), and the shares are its softmax.
  std::optional<CellSums> soft(std::span<const double> potential, double reg, std::size_t stride, Control& control);

  // Adds the derivatives of the sum of values by the sites, n_sites x n_features; reg = 0 is hard.
  bool add_gradient(std::span<const double> potential, double reg, std::span<double> gradient, Control& control);

  // c between every stride-th point and a site chosen without looking, summed: what a cost is like.
  double blind_cost(std::size_t stride) const;
  // The largest distance of a point, or of a site, from the centre of the sites.
  double reach() const;

 private:
  template <class Body>
  bool over_pieces(std::size_t n_rows, Control& control, Body&& body);
  WeightedPoints<T> rows_of(std::size_t piece, std::size_t n_rows, std::size_t stride) const;
  std::size_t rows_per_piece(std::size_t n_rows) const;
  double total_size(std::size_t stride);

  WeightedPoints<T> points_;
  MatrixView<const T> sites_;
  bool squared_;
  Team& team_;
  SitePack<T> pack_;
  std::unique_ptr<DeviceRows<T>> device_;  // null: the CPU
  std::vector<T> strided_weights_;
  std::size_t known_stride_ = 0;
  double known_size_ = 0, known_weight_ = 0;
};

extern template class TransportDual<float>;
extern template class TransportDual<double>;

}  // namespace steppe
