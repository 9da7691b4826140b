#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/kernels/mixture_scores.hpp"

namespace steppe {

// Owns components in the form in which kernels want them. Places may be set at the same time.
template <class T>
class GaussianPanel {
 public:
  void resize(std::size_t n_components, std::size_t n_features, bool full) {
    n_components_ = n_components;
    n_features_ = n_features;
    full_ = full;
    stride_ = padded<T>(n_features);
    factor_size_ = full ? kernels::triangle_size(n_features) : n_features;
    offset_stride_ = kernels::offset_stride(n_features, full);
    constants_.resize(n_components);
    factors_.resize(n_components * factor_size_);
    offsets_.assign(n_components * offset_stride_, T{0});
    means_.assign(n_components * stride_, T{0});
  }

  // `factor`: the diagonal, or the lower triangle row-major. The mean is rounded first, so that the squares are those
  // of distances from mean(k).
  void set(std::size_t k, double constant, std::span<const double> mean, std::span<const double> factor) {
    constants_[k] = static_cast<T>(constant);
    T* const rounded = means_.data() + k * stride_;
    for (std::size_t i = 0; i < n_features_; ++i) rounded[i] = static_cast<T>(mean[i]);
    T* const packed = factors_.data() + k * factor_size_;
    if (full_) {
      kernels::pack_triangle(MatrixView<const double>(factor.data(), n_features_, n_features_), packed);
    } else {
      for (std::size_t i = 0; i < n_features_; ++i) packed[i] = static_cast<T>(factor[i]);
    }
    for (std::size_t i = 0; i < n_features_; ++i) {
      double offset = full_ ? 0 : double{packed[i]} * double{rounded[i]};
      for (std::size_t j = 0; full_ && j <= i; ++j) {
        offset += double{static_cast<T>(factor[i * n_features_ + j])} * double{rounded[j]};
      }
      offsets_[k * offset_stride_ + i] = static_cast<T>(offset);
    }
  }

  std::size_t size() const { return n_components_; }
  std::size_t n_features() const { return n_features_; }
  std::size_t stride() const { return stride_; }
  const T* mean(std::size_t k) const { return means_.data() + k * stride_; }
  kernels::GaussiansView<T> view() const {
    return {n_components_, n_features_, full_, constants_.data(), factors_.data(), offsets_.data()};
  }

 private:
  std::size_t n_components_ = 0, n_features_ = 0, stride_ = 0, factor_size_ = 0, offset_stride_ = 0;
  bool full_ = false;
  std::vector<T> constants_;
  AlignedVector<T> factors_, offsets_, means_;
};

// A block of rows less the centre, each padded with zeros to whole cache lines, with their weights.
template <class T>
class RowBlock {
 public:
  RowBlock(std::size_t n_features, std::size_t capacity)
      : n_features_(n_features), stride_(padded<T>(n_features)), rows_(capacity * stride_, T{0}), weights_(capacity) {}

  // Rows number(0), ..., number(n - 1) of x; `weights` of all rows, or empty.
  template <class Number>
  void fill(MatrixView<const T> x, std::span<const T> weights, std::span<const T> centre, std::size_t n,
            Number&& number) {
    n_ = n;
    weighted_ = !weights.empty();
    for (std::size_t r = 0; r < n; ++r) {
      const std::size_t i = number(r);
      const T* from = x.data() + i * x.stride();
      T* to = rows_.data() + r * stride_;
      for (std::size_t j = 0; j < n_features_; ++j) to[j] = from[j] - centre[j];
      if (weighted_) weights_[r] = weights[i];
    }
  }

  MatrixView<const T> rows() const { return {rows_.data(), n_, n_features_, stride_}; }
  const T* weights() const { return weighted_ ? weights_.data() : nullptr; }

 private:
  std::size_t n_features_, stride_, n_ = 0;
  bool weighted_ = false;
  AlignedVector<T> rows_;
  std::vector<T> weights_;
};

}  // namespace steppe
