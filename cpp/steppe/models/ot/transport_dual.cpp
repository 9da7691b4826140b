#include "steppe/models/ot/transport_dual.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "steppe/kernels/cells.hpp"
#include "steppe/models/ot/assignment.hpp"

namespace steppe {
namespace {

constexpr std::size_t kMostPieces = 64;  // each has masses of its own
constexpr std::size_t kTilesOfPiece = 4;

}  // namespace

template <class T>
TransportDual<T>::TransportDual(const WeightedPoints<T>& points, MatrixView<const T> sites, bool squared,
                                bool on_device, Team& team)
    : points_(points), sites_(sites), squared_(squared), team_(team), pack_(sites, squared) {
  if (on_device) device_ = upload_rows(points.x, points.weights.empty() ? nullptr : points.weights.data());
}

template <class T>
std::size_t TransportDual<T>::rows_per_piece(std::size_t n_rows) const {
  const std::size_t tile = kernels::row_tile<T>() * kTilesOfPiece;
  const std::size_t tiles = (n_rows + tile - 1) / tile;
  return std::max<std::size_t>((tiles + kMostPieces - 1) / kMostPieces, 1) * tile;
}

// body(piece, member) for all pieces; false if a stop was asked for.
template <class T>
template <class Body>
bool TransportDual<T>::over_pieces(std::size_t n_rows, Control& control, Body&& body) {
  const std::size_t rows = rows_per_piece(n_rows), n_pieces = (n_rows + rows - 1) / rows;
  if (team_.size() == 1) {
    Pacer pacer(control);
    for (std::size_t piece = 0; piece < n_pieces; ++piece) {
      if (pacer.stop_requested()) return false;
      body(piece, std::uint32_t{0});
    }
    return true;
  }
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  const Team::Job job = [&](std::uint32_t member) {
    for (;;) {
      const std::size_t piece = next.fetch_add(1, std::memory_order_relaxed);
      if (piece >= n_pieces || stop.load(std::memory_order_relaxed)) return;
      body(piece, member);
    }
  };
  return !team_.run(job, control, [&] { stop.store(true, std::memory_order_relaxed); });
}

template <class T>
WeightedPoints<T> TransportDual<T>::rows_of(std::size_t piece, std::size_t n_rows, std::size_t stride) const {
  const std::size_t rows = rows_per_piece(n_rows), first = piece * rows, n = std::min(rows, n_rows - first);
  const MatrixView<const T> x(points_.x.data() + first * stride * points_.x.stride(), n, points_.x.cols(),
                              stride * points_.x.stride());
  if (points_.weights.empty()) return {x, {}};
  return {x, std::span<const T>(strided_weights_).subspan(first, n)};
}

// Sum of |x - centre|^2 over every stride-th row; also gathers their weights. A change of stride is rare.
template <class T>
double TransportDual<T>::total_size(std::size_t stride) {
  if (stride == known_stride_) return known_size_;
  strided_weights_.clear();
  known_size_ = known_weight_ = 0;
  for (std::size_t i = 0; i < size(); i += stride) {
    if (!points_.weights.empty()) strided_weights_.push_back(points_.weights[i]);
    known_weight_ += points_.weight(i);
    known_size_ += points_.weight(i) * (pack_.size_of(points_.x.row(i)) * pack_.unit()) * pack_.unit();
  }
  known_stride_ = stride;
  return known_size_;
}

template <class T>
std::optional<CellSums> TransportDual<T>::soft(std::span<const double> potential, double reg, std::size_t stride,
                                               Control& control) {
  const std::size_t n = size(stride), m = sites_.rows();
  pack_.set_potential(potential);
  const double total = total_size(stride);
  const auto view = pack_.view();
  if (device_) {
    CellSums sums{.value = 0, .weight = known_weight_, .mass = std::vector<double>(m)};
    kernels::SpreadSums spread;
    spread.mass = sums.mass;
    device_->spread(view, stride, pack_.steepness(reg), spread);
    sums.value = pack_.sum_of_costs(spread.score, total, sums.weight) - reg * spread.log_sum;
    return sums;
  }
  const std::size_t rows = rows_per_piece(n), n_pieces = (n + rows - 1) / rows;
  const std::size_t n_scratch = padded<T>(kernels::spread_scratch(view));
  AlignedVector<T> scratch(n_scratch * team_.size());
  std::vector<double> mass(n_pieces * m);
  std::vector<kernels::SpreadSums> parts(n_pieces);
  const T steepness = pack_.steepness(reg);
  const bool whole = over_pieces(n, control, [&](std::size_t piece, std::uint32_t member) {
    const WeightedPoints<T> mine = rows_of(piece, n, stride);
    parts[piece].mass = std::span<double>(mass).subspan(piece * m, m);
    kernels::spread_rows(mine.x, mine.weights.empty() ? nullptr : mine.weights.data(), view, steepness, parts[piece],
                         scratch.data() + member * n_scratch);
  });
  if (!whole) return std::nullopt;
  CellSums sums{.value = 0, .weight = known_weight_, .mass = std::vector<double>(m)};
  double score = 0, log_sum = 0;
  for (const auto& part : parts) {
    score += part.score;
    log_sum += part.log_sum;
    for (std::size_t j = 0; j < m; ++j) sums.mass[j] += part.mass[j];
  }
  sums.value = pack_.sum_of_costs(score, total, sums.weight) - reg * log_sum;
  return sums;
}

template <class T>
std::optional<CellSums> TransportDual<T>::hard(std::span<const double> potential, std::size_t stride,
                                               Control& control) {
  const std::size_t n = size(stride), m = sites_.rows();
  pack_.set_potential(potential);
  total_size(stride);
  const auto view = pack_.view();
  const std::size_t rows = rows_per_piece(n), n_pieces = (n + rows - 1) / rows;
  const std::size_t n_scratch = padded<T>(kernels::assign_scratch<T>(view.n_features));
  AlignedVector<T> scratch(n_scratch * team_.size());
  std::vector<std::int32_t> labels(rows * team_.size());
  std::vector<double> mass(n_pieces * m), value(n_pieces);
  std::vector<std::int32_t> found(device_ ? n : 0);
  if (device_) device_->assign(view, stride, found);
  const bool whole = over_pieces(n, control, [&](std::size_t piece, std::uint32_t member) {
    const WeightedPoints<T> mine = rows_of(piece, n, stride);
    const auto cells = device_ ? std::span<std::int32_t>(found).subspan(piece * rows, mine.x.rows())
                               : std::span<std::int32_t>(labels).subspan(member * rows, mine.x.rows());
    if (!device_) kernels::assign_rows(mine.x, view, cells, scratch.data() + member * n_scratch);
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const auto j = static_cast<std::size_t>(cells[i]);
      mass[piece * m + j] += mine.weight(i);
      value[piece] += mine.weight(i) * (cost_between<T>(mine.x.row(i), sites_.row(j), squared_) - potential[j]);
    }
  });
  if (!whole) return std::nullopt;
  CellSums sums{.value = 0, .weight = known_weight_, .mass = std::vector<double>(m)};
  for (std::size_t piece = 0; piece < n_pieces; ++piece) {
    sums.value += value[piece];
    for (std::size_t j = 0; j < m; ++j) sums.mass[j] += mass[piece * m + j];
  }
  return sums;
}

// The squared cost's derivative is 2 (y - x), the other's (y - x) / |y - x|: both need sums of w and of w x for the
// weights that SpreadSums tells of. A steepness beyond all differences makes the soft assignment hard, but for exact
// ties; so the hard one has a loop of its own.
template <class T>
bool TransportDual<T>::add_gradient(std::span<const double> potential, double reg, std::span<double> gradient,
                                    Control& control) {
  const std::size_t m = sites_.rows(), d = sites_.cols(), n = size();
  pack_.set_potential(potential);
  total_size(1);
  const auto view = pack_.view();
  const std::size_t n_scratch = padded<T>(reg > 0 ? kernels::spread_scratch(view) : kernels::assign_scratch<T>(d));
  AlignedVector<T> scratch(n_scratch);
  std::vector<std::int32_t> labels(rows_per_piece(n));
  std::vector<double> mass(m), moments(m * d), moment_mass(m);
  kernels::SpreadSums sums{.mass = mass, .moments = moments, .moment_mass = moment_mass};
  const std::size_t n_pieces = (n + rows_per_piece(n) - 1) / rows_per_piece(n);
  Pacer pacer(control);
  for (std::size_t piece = 0; piece < n_pieces; ++piece) {
    if (pacer.stop_requested()) return false;
    const WeightedPoints<T> mine = rows_of(piece, n, 1);
    if (reg > 0) {
      kernels::spread_rows(mine.x, mine.weights.empty() ? nullptr : mine.weights.data(), view, pack_.steepness(reg),
                           sums, scratch.data());
      continue;
    }
    const auto cells = std::span<std::int32_t>(labels).first(mine.x.rows());
    kernels::assign_rows(mine.x, view, cells, scratch.data());
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const auto j = static_cast<std::size_t>(cells[i]);
      const double distance = squared_ ? 0.5 : cost_between<T>(mine.x.row(i), sites_.row(j), false);
      const double pull = distance > 0 ? mine.weight(i) / distance : 0;
      for (std::size_t k = 0; k < d; ++k) {
        gradient[j * d + k] += pull * (static_cast<double>(sites_(j, k)) - static_cast<double>(mine.x(i, k)));
      }
    }
  }
  if (reg == 0) return true;
  const double factor = squared_ ? 2 * pack_.unit() : 1;
  for (std::size_t j = 0; j < m; ++j) {
    for (std::size_t k = 0; k < d; ++k) {
      gradient[j * d + k] += factor * (moment_mass[j] * pack_.scaled_site(j, k) - moments[j * d + k]);
    }
  }
  return true;
}

template <class T>
double TransportDual<T>::blind_cost(std::size_t stride) const {
  double sum = 0;
  for (std::size_t i = 0; i < size(); i += stride) {
    const std::size_t j = (i / stride * 0x9E3779B1u) % sites_.rows();
    sum += points_.weight(i) * cost_between<T>(points_.x.row(i), sites_.row(j), squared_);
  }
  return sum;
}

template <class T>
double TransportDual<T>::reach() const {
  double most = 0;
  for (std::size_t i = 0; i < size(); ++i) most = std::max(most, pack_.size_of(points_.x.row(i)));
  for (std::size_t j = 0; j < sites_.rows(); ++j) most = std::max(most, pack_.size_of(sites_.row(j)));
  return std::sqrt(most) * pack_.unit();
}

template class TransportDual<float>;
template class TransportDual<double>;

}  // namespace steppe
