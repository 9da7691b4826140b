#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "steppe/core/views.hpp"

namespace steppe::kernels {

// Examples, sparse or dense, walked alike: a dense row names all columns.
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
  std::size_t nonzeros() const noexcept { return is_dense_ ? rows_ * cols_ : sparse_.nonzeros(); }
  SparseRow<T> row(std::size_t i) const noexcept {
    return is_dense_ ? SparseRow<T>{columns_, dense_.row(i)} : sparse_.row(i);
  }
  RowsView rows_between(std::size_t first, std::size_t last) const noexcept {
    if (!is_dense_) return RowsView(sparse_.rows_between(first, last));
    return {MatrixView<const T>(dense_.data() + first * dense_.stride(), last - first, cols_, dense_.stride()),
            columns_};
  }

 private:
  CsrView<T> sparse_;
  MatrixView<const T> dense_;
  std::span<const std::int32_t> columns_;
  std::size_t rows_ = 0, cols_ = 0;
  bool is_dense_ = false;
};

}  // namespace steppe::kernels
