#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace steppe {

// Views own nothing: whoever made them keeps the memory alive. They are passed by value.

template <class T>
using VectorView = std::span<T>;

// Row-major matrix; `stride` is the distance between rows in elements (>= cols).
template <class T>
class MatrixView {
 public:
  MatrixView() = default;
  MatrixView(T* data, std::size_t rows, std::size_t cols) : MatrixView(data, rows, cols, cols) {}
  MatrixView(T* data, std::size_t rows, std::size_t cols, std::size_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {}

  operator MatrixView<const T>() const { return {data_, rows_, cols_, stride_}; }

  T* data() const noexcept { return data_; }
  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  std::size_t stride() const noexcept { return stride_; }
  std::span<T> row(std::size_t i) const noexcept { return {data_ + i * stride_, cols_}; }
  T& operator()(std::size_t i, std::size_t j) const noexcept { return data_[i * stride_ + j]; }

 private:
  T* data_ = nullptr;
  std::size_t rows_ = 0, cols_ = 0, stride_ = 0;
};

// One compressed row: column numbers and the values beside them.
template <class T>
struct SparseRow {
  std::span<const std::int32_t> indices;
  std::span<const T> values;
  std::size_t size() const noexcept { return indices.size(); }
};

// Compressed sparse rows. Offsets are 64-bit (more than 2^31 nonzeros), columns 32-bit. Read as columns by whoever
// stores the transpose.
template <class T>
class CsrView {
 public:
  CsrView() = default;
  CsrView(std::span<const std::int64_t> offsets, std::span<const std::int32_t> indices, std::span<const T> values,
          std::size_t cols)
      : offsets_(offsets), indices_(indices), values_(values), cols_(cols) {}

  std::size_t rows() const noexcept { return offsets_.empty() ? 0 : offsets_.size() - 1; }
  std::size_t cols() const noexcept { return cols_; }
  std::size_t nonzeros() const noexcept {
    return offsets_.empty() ? 0 : static_cast<std::size_t>(offsets_.back() - offsets_.front());
  }
  std::size_t row_size(std::size_t i) const noexcept { return static_cast<std::size_t>(offsets_[i + 1] - offsets_[i]); }
  SparseRow<T> row(std::size_t i) const noexcept {
    const auto first = static_cast<std::size_t>(offsets_[i]);
    return {indices_.subspan(first, row_size(i)), values_.subspan(first, row_size(i))};
  }
  // Rows first..last-1 of the same storage.
  CsrView rows_between(std::size_t first, std::size_t last) const noexcept {
    return {offsets_.subspan(first, last - first + 1), indices_, values_, cols_};
  }
  std::span<const std::int64_t> offsets() const noexcept { return offsets_; }
  std::span<const std::int32_t> indices() const noexcept { return indices_; }
  std::span<const T> values() const noexcept { return values_; }

 private:
  std::span<const std::int64_t> offsets_;
  std::span<const std::int32_t> indices_;
  std::span<const T> values_;
  std::size_t cols_ = 0;
};

}  // namespace steppe
