#pragma once

#include <optional>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/aligned.hpp"
#include "steppe/models/linear_model/labelled_rows.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// The objective of multinomial logistic regression over the rows of all ranks, and its gradient. Parameters lie
// feature-major, (n_features + 1 if there is an intercept) x lanes, all classes in one block.
//
// A pass over a chunk of rows has two halves, each free of races: rows in parallel make the residuals softmax - e_y,
// then features in parallel gather them through the chunk's columns. Chunks bound the residuals' memory; pieces are
// fixed, so the result depends neither on threads nor on who was faster.
template <class T>
class SoftmaxObjective {
 public:
  SoftmaxObjective(LabelledRows<T> rows, std::uint32_t n_classes, double alpha, bool fit_intercept, double total_weight,
                   Link& link, Team& team);

  std::size_t lanes() const { return lanes_; }
  std::size_t n_rows() const { return n_features_ + (fit_intercept_ ? 1 : 0); }  // of the parameters
  // An estimate of each parameter row's inverse curvature: that at W = 0, where every class has the same probability.
  std::vector<T> inverse_curvature();
  // Collective. Nothing if some rank was asked to stop.
  std::optional<double> operator()(std::span<const T> parameters, std::span<T> gradient, Pacer& pacer);

 private:
  struct Chunk {
    std::size_t first = 0, last = 0;
    // Columns as rows; the last one is the intercept's column of ones, if there is an intercept.
    std::vector<std::int64_t> offsets;
    std::vector<std::int32_t> indices;
    std::vector<T> values;
  };

  Chunk make_chunk(std::size_t first, std::size_t last) const;
  bool start_with_penalty(std::span<const T> parameters, std::span<T> gradient, double& value, Pacer& pacer);
  bool add_chunk(const Chunk& chunk, std::span<const T> parameters, std::span<T> gradient, double& value, Pacer& pacer);
  bool sum_over_ranks_of(std::span<T> gradient, double& value, bool stop);

  LabelledRows<T> rows_;
  std::uint32_t n_classes_;
  double alpha_;
  bool fit_intercept_;
  std::size_t n_features_, lanes_;
  Link& link_;
  Team& team_;
  std::vector<T> weight_;  // omega
  std::vector<Chunk> chunks_;
  AlignedVector<T> residual_;
};

extern template class SoftmaxObjective<float>;
extern template class SoftmaxObjective<double>;

}  // namespace steppe
