#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "steppe/core/views.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe {

// Places of a list that count for NDCG while a ranker is fitted.
inline constexpr std::size_t kNdcgPlaces = 10;

// This rank's documents by query, within a query by rising grade. Views: the caller keeps the arrays.
template <class T>
struct RankedQueries {
  MatrixView<const T> x;                  // as passed
  std::span<const std::int64_t> order;    // rows of x
  std::span<const double> grade, weight;  // in that order; grades are 0 or more
  std::span<const std::int64_t> offsets;  // of the queries in that order, one more than there are
  std::span<const std::int64_t> number;   // of each query among those of all ranks, rising

  std::size_t size() const noexcept { return number.size(); }
  std::size_t begin(std::size_t q) const noexcept { return static_cast<std::size_t>(offsets[q]); }
  std::size_t end(std::size_t q) const noexcept { return static_cast<std::size_t>(offsets[q + 1]); }
  const T* row(std::size_t i) const noexcept { return x.row(static_cast<std::size_t>(order[i])).data(); }
};

// The rows of x by query, grade, weight and bytes: an order that does not depend on the one in which they came.
// Documents that are equal in all of it cannot be told apart.
template <class T>
std::vector<std::int64_t> canonical_order(MatrixView<const T> x, std::span<const std::int64_t> query,
                                          std::span<const double> grade, std::span<const double> weight);

// For documents of one query by rising grade: how many have a lower grade than each.
std::vector<std::uint32_t> count_lower(std::span<const double> grade);

double exponential_gain(double grade);  // 2^grade - 1

// NDCG@k of each query; nan where all gains are 0. Scores and gains by query.
std::vector<double> ndcg_by_query(std::span<const double> scores, std::span<const double> gains,
                                  std::span<const std::int64_t> offsets, std::size_t k, Team& team);

}  // namespace steppe
