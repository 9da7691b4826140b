#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/views.hpp"

namespace steppe {

// What all ranks know of the ratings they hold together.
struct RatingSummary {
  double mean = 0;
  double scale = 1;  // standard deviation; 1 where all ratings are equal
  std::uint64_t n_ratings = 0;
  std::uint64_t first_user = 0;            // number of this rank's first user over all ranks
  std::vector<std::uint64_t> item_counts;  // over all ranks
};

// Collective. The sums are made in rank order, so all ranks hold the same bits. InvalidArgument if there is no rating
// at all, or one that is not finite.
template <class T>
RatingSummary summarise_ratings(CsrView<T> ratings, Link& link);

// Ratings by item: entries offsets[j] .. offsets[j + 1] - 1 are those of item j, in the order of users.
template <class T>
struct RatingColumns {
  std::vector<std::int64_t> offsets;
  std::vector<std::int32_t> users;
  std::vector<T> values;

  std::size_t count(std::size_t j) const { return static_cast<std::size_t>(offsets[j + 1] - offsets[j]); }
  std::span<const std::int32_t> users_of(std::size_t j) const {
    return std::span(users).subspan(static_cast<std::size_t>(offsets[j]), count(j));
  }
  std::span<const T> values_of(std::size_t j) const {
    return std::span(values).subspan(static_cast<std::size_t>(offsets[j]), count(j));
  }
};

// The transpose of some rows of a CSR matrix, which are users first_user, first_user + 1, ...
template <class T>
RatingColumns<T> columns_of(CsrView<T> rows, std::size_t first_user = 0);

}  // namespace steppe
