#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/kernels/class_block.hpp"

// A small random sparse classification problem, with an empty row and a row that names every column.
template <class T>
struct SoftmaxCase {
  std::size_t n_rows, n_features, n_classes;
  std::vector<std::int64_t> offsets{0};
  std::vector<std::int32_t> indices, labels;
  std::vector<T> values, weights;

  SoftmaxCase(std::size_t rows, std::size_t features, std::size_t classes, double scale = 1, std::uint64_t seed = 3)
      : n_rows(rows), n_features(features), n_classes(classes) {
    steppe::Stream stream(seed, steppe::Purpose::data, 0);
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < features; ++j) {
        if (i == 1 || (i != 0 && stream.uniform() < 0.4)) {
          indices.push_back(static_cast<std::int32_t>(j));
          values.push_back(static_cast<T>(scale * stream.normal()));
        }
      }
      offsets.push_back(static_cast<std::int64_t>(indices.size()));
      labels.push_back(static_cast<std::int32_t>(i % classes));
      weights.push_back(static_cast<T>(i >= classes && i % 5 == 4 ? 0 : 0.5 + stream.uniform()));
    }
  }

  steppe::CsrView<T> csr() const { return {offsets, indices, values, n_features}; }
  steppe::kernels::RowsView<T> x() const { return steppe::kernels::RowsView<T>(csr()); }
  double total_weight() const {
    double sum = 0;
    for (const T weight : weights) sum += double{weight};
    return sum;
  }

  // Scores of one row under feature-major weights (stride lanes) and, if not null, an intercept.
  std::vector<double> scores(std::size_t i, const T* w, std::size_t lanes, const T* intercept) const {
    std::vector<double> u(n_classes);
    for (std::size_t c = 0; c < n_classes; ++c) {
      u[c] = intercept ? double{intercept[c]} : 0.0;
      const auto row = csr().row(i);
      for (std::size_t e = 0; e < row.size(); ++e) {
        u[c] += double{row.values[e]} * double{w[static_cast<std::size_t>(row.indices[e]) * lanes + c]};
      }
    }
    return u;
  }
};

inline double log_sum_exp(const std::vector<double>& u) {
  double top = -1e300, sum = 0;
  for (const double value : u) top = std::max(top, value);
  for (const double value : u) sum += std::exp(value - top);
  return top + std::log(sum);
}
