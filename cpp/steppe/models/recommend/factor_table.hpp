#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/array_map.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/core/views.hpp"

namespace steppe {

// How factors start: uniform on [-width, width), or on [0, width) where they may not be negative.
struct FactorInit {
  std::uint64_t seed = 0;
  double width = 0;
  bool nonnegative = false;
};

// The start of entity `number` of a kind, a pure function of its arguments; nothing beyond row.size() is touched.
template <class T>
void init_factors(std::span<T> row, const FactorInit& init, Purpose kind, std::uint64_t number) {
  Stream stream(init.seed, kind, number);
  const double low = init.nonnegative ? 0.0 : -init.width;
  const double span = init.width - low;
  for (T& value : row) value = static_cast<T>(low + span * (static_cast<double>(stream()) * 0x1p-32));
}

// Factors and biases of users or items. Rows are padded with zeros to whole cache lines, so that kernels need no
// remainder loop; every update keeps the padding at zero.
template <class T>
struct FactorTable {
  std::size_t rows = 0, k = 0, stride = 0;
  AlignedVector<T> factors;
  std::vector<T> bias;

  FactorTable() = default;
  FactorTable(std::size_t n, std::size_t n_factors)
      : rows(n), k(n_factors), stride(padded<T>(n_factors)), factors(n * stride), bias(n) {}

  std::span<T> row(std::size_t i) { return {factors.data() + i * stride, k}; }
  std::span<const T> row(std::size_t i) const { return {factors.data() + i * stride, k}; }

  // Fills the rows from dense ones without padding.
  void assign(MatrixView<const T> dense, std::span<const T> biases) {
    for (std::size_t i = 0; i < rows; ++i) std::ranges::copy(dense.row(i), row(i).begin());
    std::ranges::copy(biases, bias.begin());
  }

  Array dense_factors() const {
    Array dense = Array::zeros<T>({rows, k});
    auto out = dense.template as<T>();
    for (std::size_t i = 0; i < rows; ++i) std::ranges::copy(row(i), out.begin() + static_cast<std::ptrdiff_t>(i * k));
    return dense;
  }
  Array dense_bias() const { return Array::copy_of(std::span<const T>(bias)); }

  // |w|^2 + b^2 of row i.
  double squared_norm(std::size_t i) const {
    double sum = static_cast<double>(bias[i]) * static_cast<double>(bias[i]);
    for (const T value : row(i)) sum += static_cast<double>(value) * static_cast<double>(value);
    return sum;
  }
};

}  // namespace steppe
