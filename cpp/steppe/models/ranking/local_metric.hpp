#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/views.hpp"

namespace steppe {

// Whole queries from which one metric is learned, documents of a query by rising grade. The anchor is judged by all of
// them, the metric made of the first `n_learn` only.
template <class T>
struct QueryBlock {
  std::size_t n_features = 0, n_learn = 0;
  std::vector<std::size_t> begin{0};  // of the queries, one more than there are
  AlignedVector<T> values;
  std::vector<double> grade, weight;

  std::size_t n_queries() const noexcept { return begin.size() - 1; }
  std::size_t n_learn_rows() const noexcept { return begin[n_learn]; }
  MatrixView<const T> rows() const { return {values.data(), grade.size(), n_features}; }
};

// The distance to an anchor, d^2(p) = scale |p - anchor|^2 + sum_i stretch_i (row_i . (p - anchor))^2. View.
template <class T>
struct AnchorDistance {
  MatrixView<const T> rows;
  std::span<const T> stretch;  // empty: ones
  T scale;
  std::span<const T> anchor;
};

template <class T>
struct LocalMetric {
  std::vector<T> anchor;
  AlignedVector<T> components;  // L (D, D) with L'L the metric
  // The same in factors, symmetric, if it was learned in a span: cheaper to apply.
  AlignedVector<T> basis;  // (size of stretch, D)
  std::vector<T> stretch;
  T scale = 0;

  AnchorDistance<T> distance() const;
  void divide_by(double unit);  // all squared distances
};

struct LocalMetricParams {
  double t = 0.5;
  double reg = 1e-3;  // relative to the mean squared difference of a feature
};

// The mean differences of a block: sum_q sum_{a,b in q} w_ab (x_a - x_b)(x_a - x_b)' / (n_q n), over the n queries that
// have such pairs. Similar: documents of one grade above 0, w_ab the mean of their weights, n_q their number.
// Dissimilar: documents of different grades, w_ab the gap times the weight of the higher, n_q the sum of gaps.
// `coordinates` holds the rows of the first n_learn queries, up to a shift for each query.
struct Scatters {
  AlignedVector<double> similar, dissimilar;  // (r, r)
};
template <class T>
Scatters query_scatters(const QueryBlock<T>& block, MatrixView<const double> coordinates);

// Geometric mean metric learning on the block (in the span of its differences where that is smaller), and as anchor the
// document, among some relevant ones drawn at random for metric `number`, by whose distance all others are ranked best.
template <class T>
LocalMetric<T> learn_local_metric(const QueryBlock<T>& block, const LocalMetricParams& params, std::uint64_t seed,
                                  std::uint32_t number);

// Squared distances of the rows x[order[i]] to the anchor; without `order` of all rows of x.
template <class T>
void anchor_distances(const AnchorDistance<T>& metric, MatrixView<const T> x, std::span<const std::int64_t> order,
                      std::span<double> out);

}  // namespace steppe
