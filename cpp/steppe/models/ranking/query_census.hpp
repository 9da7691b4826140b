#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/models/ranking/ranked_queries.hpp"

namespace steppe {

// A query that can teach: it has documents of different grades, and one of the higher ones counts.
struct QueryEntry {
  std::uint64_t number;  // among those of all ranks
  std::uint32_t rank;    // that holds it
  std::uint32_t index;   // there
  std::uint64_t n_rows;
  double weight;  // mean weight of its documents that are more relevant than others
};

// Such queries of all ranks by rising number, the same on every rank; and those of this rank among them, in that order.
// Whatever is summed over queries is summed in this order: no bit depends on which rank holds what.
struct QueryCensus {
  std::vector<QueryEntry> all;
  std::vector<std::uint32_t> own;  // index of each

  // Collective. The mean of a value of each own query, by weight.
  double mean(std::span<const double> values, Link& link) const;
};

// Collective. `lower` as count_lower gives it, for each document.
template <class T>
QueryCensus take_census(const RankedQueries<T>& queries, std::span<const std::uint32_t> lower, Link& link);

// Divides the census at random, by the numbers of the queries alone: about that fraction is held out.
struct SplitCensus {
  QueryCensus train, held_out;
};
SplitCensus hold_out(const QueryCensus& census, double fraction, std::uint64_t seed, std::uint32_t rank);

}  // namespace steppe
