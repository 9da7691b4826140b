#pragma once

#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/models/ranking/local_metric.hpp"
#include "steppe/models/ranking/query_census.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

struct MetricSetParams {
  std::uint32_t n_metrics = 8;
  std::uint32_t sample_size = 64;  // documents that a metric is learned from, at least, in whole queries
  LocalMetricParams metric;
  std::uint64_t seed = 0;
};

// Collective. Metric number i is learned by rank i mod size, from queries drawn for it, which every rank that has them
// sends; at the end all ranks have all metrics. Nothing (on every rank) if `control` asked to stop on any.
template <class T>
std::vector<LocalMetric<T>> learn_metric_set(const RankedQueries<T>& queries, const QueryCensus& census,
                                             const MetricSetParams& params, Link& link, Team& team, Control& control);

}  // namespace steppe
