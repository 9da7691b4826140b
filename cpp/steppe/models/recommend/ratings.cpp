#include "steppe/models/recommend/ratings.hpp"

#include <cmath>
#include <string>

#include "steppe/comm/wire.hpp"
#include "steppe/core/errors.hpp"

namespace steppe {
namespace {

// This rank's ratings, those that the offsets of a row range point at.
template <class T>
std::span<const T> values_of(CsrView<T> rows) {
  if (rows.rows() == 0) return {};
  return rows.values().subspan(static_cast<std::size_t>(rows.offsets().front()), rows.nonzeros());
}

template <class T>
std::span<const std::int32_t> indices_of(CsrView<T> rows) {
  if (rows.rows() == 0) return {};
  return rows.indices().subspan(static_cast<std::size_t>(rows.offsets().front()), rows.nonzeros());
}

template <class T>
double sum_of(std::span<const T> values, double shift, int power) {
  double sum = 0;
  for (const T value : values) sum += power == 1 ? value - shift : (value - shift) * (value - shift);
  return sum;
}

}  // namespace

template <class T>
RatingSummary summarise_ratings(CsrView<T> ratings, Link& link) {
  const auto values = values_of(ratings);
  const double sum = sum_of(values, 0, 1);
  agree_on_input(link, std::isfinite(sum) ? "" : "X: holds ratings that are NaN or infinite; remove them");

  RatingSummary summary;
  double sums[] = {sum, static_cast<double>(values.size())};
  sum_over_ranks(link, sums);
  require(sums[1] > 0, "X: holds no rating; pass at least one stored entry (explicit zeros count as ratings)");
  summary.mean = sums[0] / sums[1];
  summary.n_ratings = static_cast<std::uint64_t>(sums[1]);
  double spread[] = {sum_of(values, summary.mean, 2)};
  sum_over_ranks(link, spread);
  summary.scale = std::sqrt(spread[0] / sums[1]);
  if (!(summary.scale > 1e-6 * std::abs(summary.mean))) summary.scale = summary.mean != 0 ? std::abs(summary.mean) : 1;

  summary.item_counts.assign(ratings.cols(), 0);
  for (const std::int32_t item : indices_of(ratings)) ++summary.item_counts[static_cast<std::size_t>(item)];
  sum_over_ranks(link, summary.item_counts);

  std::vector<std::uint64_t> users(link.size());
  users[link.rank()] = ratings.rows();
  sum_over_ranks(link, users);
  for (std::uint32_t rank = 0; rank < link.rank(); ++rank) summary.first_user += users[rank];
  return summary;
}

template <class T>
RatingColumns<T> columns_of(CsrView<T> rows, std::size_t first_user) {
  RatingColumns<T> columns;
  columns.offsets.assign(rows.cols() + 1, 0);
  for (const std::int32_t item : indices_of(rows)) ++columns.offsets[static_cast<std::size_t>(item) + 1];
  for (std::size_t j = 0; j < rows.cols(); ++j) columns.offsets[j + 1] += columns.offsets[j];
  columns.users.resize(rows.nonzeros());
  columns.values.resize(rows.nonzeros());
  std::vector<std::int64_t> next(columns.offsets.begin(), columns.offsets.end() - 1);
  for (std::size_t u = 0; u < rows.rows(); ++u) {
    const auto row = rows.row(u);
    for (std::size_t n = 0; n < row.size(); ++n) {
      const auto place = static_cast<std::size_t>(next[static_cast<std::size_t>(row.indices[n])]++);
      columns.users[place] = static_cast<std::int32_t>(first_user + u);
      columns.values[place] = row.values[n];
    }
  }
  return columns;
}

template RatingSummary summarise_ratings(CsrView<float>, Link&);
template RatingSummary summarise_ratings(CsrView<double>, Link&);
template RatingColumns<float> columns_of(CsrView<float>, std::size_t);
template RatingColumns<double> columns_of(CsrView<double>, std::size_t);

}  // namespace steppe
