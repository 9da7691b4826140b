#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "steppe/core/aligned.hpp"
#include "steppe/core/views.hpp"

namespace steppe::kernels {

// A block of classes lies feature-major: row j of its weights holds feature j's weight for every class ("lane") of the
// block, so a stored entry of X meets whole, contiguous cache lines. The number of lanes is a multiple of kLanes<T>;
// the lanes beyond the last class are zero and stay zero.

template <class T>
inline constexpr std::size_t kLanes = kCacheLine / sizeof(T);

template <class T>
using Lane [[gnu::vector_size(kCacheLine)]] = T;

// The largest number of lane vectors that are summed in registers at a time.
inline constexpr std::size_t kTileVectors = 8;

// Examples, sparse or dense. A dense row names all columns.
template <class T>
class RowsView {
 public:
  RowsView() = default;
  explicit RowsView(CsrView<T> rows) : sparse_(rows), rows_(rows.rows()), cols_(rows.cols()) {}
  // `columns` is 0, 1, ..., cols-1.
  RowsView(MatrixView<const T> rows, std::span<const std::int32_t> columns)
      : dense_(rows), columns_(columns), rows_(rows.rows()), cols_(rows.cols()) {}

  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  std::size_t nonzeros() const noexcept { return columns_.data() ? rows_ * cols_ : sparse_.nonzeros(); }
  SparseRow<T> row(std::size_t i) const noexcept {
    return columns_.data() ? SparseRow<T>{columns_, dense_.row(i)} : sparse_.row(i);
  }
  RowsView rows_between(std::size_t first, std::size_t last) const noexcept {
    if (columns_.data() == nullptr) return RowsView(sparse_.rows_between(first, last));
    return {MatrixView<const T>(dense_.data() + first * dense_.stride(), last - first, cols_, dense_.stride()), columns_};
  }

 private:
  CsrView<T> sparse_;
  MatrixView<const T> dense_;
  std::span<const std::int32_t> columns_;
  std::size_t rows_ = 0, cols_ = 0;
};

template <std::size_t kVectors, class T>
[[gnu::always_inline]] inline void gather_tile(SparseRow<T> x, const T* weights, std::size_t lanes, T* scores) {
  Lane<T> sum[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) sum[v] = *reinterpret_cast<const Lane<T>*>(scores + v * kLanes<T>);
  for (std::size_t e = 0; e < x.size(); ++e) {
    const T value = x.values[e];
    const T* row = weights + static_cast<std::size_t>(x.indices[e]) * lanes;
    for (std::size_t v = 0; v < kVectors; ++v) sum[v] += value * *reinterpret_cast<const Lane<T>*>(row + v * kLanes<T>);
  }
  for (std::size_t v = 0; v < kVectors; ++v) *reinterpret_cast<Lane<T>*>(scores + v * kLanes<T>) = sum[v];
}

template <std::size_t kVectors, class T>
[[gnu::always_inline]] inline void scatter_tile(SparseRow<T> x, const T* step, std::size_t lanes, T* weights) {
  Lane<T> move[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) move[v] = *reinterpret_cast<const Lane<T>*>(step + v * kLanes<T>);
  for (std::size_t e = 0; e < x.size(); ++e) {
    const T value = x.values[e];
    T* row = weights + static_cast<std::size_t>(x.indices[e]) * lanes;
    for (std::size_t v = 0; v < kVectors; ++v) *reinterpret_cast<Lane<T>*>(row + v * kLanes<T>) += value * move[v];
  }
}

// f(vectors as a constant, first lane) for tiles that together cover all lanes.
template <class T, class F>
[[gnu::always_inline]] inline void for_each_tile(std::size_t lanes, F&& f) {
  std::size_t lane = 0;
  for (; lane + 8 * kLanes<T> <= lanes; lane += 8 * kLanes<T>) f(std::integral_constant<std::size_t, 8>{}, lane);
  if (lane + 4 * kLanes<T> <= lanes) {
    f(std::integral_constant<std::size_t, 4>{}, lane);
    lane += 4 * kLanes<T>;
  }
  if (lane + 2 * kLanes<T> <= lanes) {
    f(std::integral_constant<std::size_t, 2>{}, lane);
    lane += 2 * kLanes<T>;
  }
  if (lane < lanes) f(std::integral_constant<std::size_t, 1>{}, lane);
}

// scores[c] += sum_j x_j weights[j][c]
template <class T>
[[gnu::always_inline]] inline void add_scores(SparseRow<T> x, const T* weights, std::size_t lanes, T* scores) {
  for_each_tile<T>(lanes, [&](auto vectors, std::size_t lane) __attribute__((always_inline)) {
    gather_tile<vectors()>(x, weights + lane, lanes, scores + lane);
  });
}

// weights[j][c] += x_j step[c]
template <class T>
[[gnu::always_inline]] inline void add_outer(SparseRow<T> x, const T* step, std::size_t lanes, T* weights) {
  for_each_tile<T>(lanes, [&](auto vectors, std::size_t lane) __attribute__((always_inline)) {
    scatter_tile<vectors()>(x, step + lane, lanes, weights + lane);
  });
}

}  // namespace steppe::kernels
