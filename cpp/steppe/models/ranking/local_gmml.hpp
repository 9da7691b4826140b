#pragma once

#include <memory>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/models/fit_session.hpp"
#include "steppe/models/ranking/local_metric_set.hpp"
#include "steppe/models/ranking/ranked_queries.hpp"

namespace steppe {

struct LocalGmmlParams {
  MetricSetParams metrics;
  double rho = 1;
  bool distance_form = false;
  bool per_query = false;
  double validation_fraction = 0;  // of the queries, held out; then training ends when their NDCG rises no more
  std::uint32_t patience = 3;      // rounds without a rise
  double tol = 0;                  // a smaller rise is none
  std::uint32_t n_threads = 1;
};

// Metrics, anchors and weights of an earlier fit to start from; empty for none.
template <class T>
struct LocalGmmlModel {
  MatrixView<const T> anchors;                  // (m, D)
  std::vector<MatrixView<const T>> components;  // (D, D): L of each metric L'L
  std::span<const T> weights;                   // (m,)

  AnchorDistance<T> distance(std::size_t r) const;
};

// The score of each row, larger is better: sum_r weights_r w_r(p) with w_r(p) = exp(-rho/2 d_r^2(p)), or
// -sum_r weights_r d_r^2(p).
template <class T>
void local_gmml_scores(const LocalGmmlModel<T>& model, double rho, bool distance_form, MatrixView<const T> x,
                       std::span<T> out, Team& team);

// Localized geometric mean metric learning to rank: local metrics (learn_metric_set), each scaled so that the median
// squared distance of the training documents to its anchor is 1, and a WARP-trained combination. A round is one pass of
// WARP. The objective is WarpTrainer's loss, of scores scaled so that they at first range over 1 in a query, on
// average. Result: "anchors" (m, D), "components" (m, D, D), "weights" (m,), "query_weights" (queries of this rank, m)
// if asked for, and "ndcg" after each round or nan.
template <class T>
std::unique_ptr<FitSession> make_local_gmml_session(const LocalGmmlParams& params, const RankedQueries<T>& queries,
                                                    const LocalGmmlModel<T>& start, Link& link);

}  // namespace steppe
