#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "steppe/core/views.hpp"

namespace steppe::kernels {

// Examples, sparse or dense, walked alike: a dense row names all columns. A view may take every n-th row only.
template <class T>
class RowsView {
 public:
  RowsView() = default;
  explicit RowsView(CsrView<T> rows) : sparse_(rows), rows_(rows.rows()), cols_(rows.cols()) {}
  // `columns` is 0, 1, ..., cols-1 and outlives the view.
  RowsView(MatrixView<const T> rows, std::span<const std::int32_t> columns)
      : dense_(rows), columns_(columns), rows_(rows.rows()), cols_(rows.cols()), is_dense_(true) {}

  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  SparseRow<T> row(std::size_t i) const noexcept {
    const std::size_t at = first_ + i * step_;
    return is_dense_ ? SparseRow<T>{columns_, dense_.row(at)} : sparse_.row(at);
  }
  RowsView rows_between(std::size_t first, std::size_t last) const noexcept {
    RowsView view = *this;
    view.first_ = first_ + first * step_;
    view.rows_ = last - first;
    return view;
  }
  // Rows first, first + step, first + 2 step, ...
  RowsView every(std::size_t step, std::size_t first) const noexcept {
    RowsView view = *this;
    view.first_ = first_ + first * step_;
    view.step_ = step_ * step;
    view.rows_ = first < rows_ ? (rows_ - first - 1) / step + 1 : 0;
    return view;
  }

 private:
  CsrView<T> sparse_;
  MatrixView<const T> dense_;
  std::span<const std::int32_t> columns_;
  std::size_t rows_ = 0, cols_ = 0, first_ = 0, step_ = 1;
  bool is_dense_ = false;
};

}  // namespace steppe::kernels
