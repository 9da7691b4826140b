#include "steppe/io/ratings.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "steppe/core/errors.hpp"
#include "steppe/io/pieces.hpp"
#include "steppe/io/ratings_parser.hpp"

namespace steppe::io {

namespace {

constexpr std::size_t kUsersAtATime = 1024;

using Codes = std::vector<std::vector<std::int32_t>>;  // [member][its code] -> row or column

// Every piece's codes become rows and columns.
template <class T>
void recode(std::vector<RatingsPart<T>>& parts, const Codes& users, const Codes& items, Team& team) {
  team.parallel_for(parts.size(), 1, [&](std::size_t first, std::size_t last, std::uint32_t) {
    for (auto& part : std::span(parts).subspan(first, last - first)) {
      for (auto& user : part.users) user = users[part.member][static_cast<std::size_t>(user)];
      for (auto& item : part.items) item = items[part.member][static_cast<std::size_t>(item)];
    }
  });
}

// Counting sort by user; a user's ratings stay in the file's order.
template <class T>
void collect_rows(std::vector<RatingsPart<T>>& parts, std::size_t n_users, RatingsData<T>& data) {
  data.row_offsets.assign(n_users + 1, 0);
  for (const auto& part : parts) {
    for (const std::int32_t user : part.users) ++data.row_offsets[static_cast<std::size_t>(user) + 1];
  }
  std::partial_sum(data.row_offsets.begin(), data.row_offsets.end(), data.row_offsets.begin());
  data.items.resize(static_cast<std::size_t>(data.row_offsets.back()));
  data.values.resize(data.items.size());
  std::vector<std::int64_t> next(data.row_offsets.begin(), data.row_offsets.end() - 1);
  for (auto& part : parts) {
    for (std::size_t i = 0; i < part.users.size(); ++i) {
      const auto place = static_cast<std::size_t>(next[static_cast<std::size_t>(part.users[i])]++);
      data.items[place] = part.items[i];
      data.values[place] = part.values[i];
    }
    part = {};
  }
}

// One user's ratings: sorts them by item, equal items in the file's order, and unites the equal ones at the
// front.
template <class T>
class RowSorter {
 public:
  explicit RowSorter(Duplicates duplicates) : duplicates_(duplicates) {}

  // Returns how many are left.
  std::size_t sort(std::span<std::int32_t> items, std::span<T> values) {
    if (std::adjacent_find(items.begin(), items.end(), std::greater_equal<>()) == items.end()) return items.size();
    row_.clear();
    for (std::size_t i = 0; i < items.size(); ++i) row_.emplace_back(items[i], values[i]);
    std::stable_sort(row_.begin(), row_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    std::size_t n_distinct = 0;
    for (std::size_t i = 0; i < row_.size(); ++n_distinct) {
      std::size_t last = i + 1;
      while (last < row_.size() && row_[last].first == row_[i].first) ++last;
      items[n_distinct] = row_[i].first;
      values[n_distinct] = united(i, last);
      i = last;
    }
    return n_distinct;
  }

 private:
  T united(std::size_t first, std::size_t last) const {
    if (duplicates_ == Duplicates::last || last == first + 1) return row_[last - 1].second;
    double sum = 0;
    for (std::size_t i = first; i < last; ++i) sum += static_cast<double>(row_[i].second);
    return static_cast<T>(duplicates_ == Duplicates::mean ? sum / static_cast<double>(last - first) : sum);
  }

  Duplicates duplicates_;
  std::vector<std::pair<std::int32_t, T>> row_;
};

// Sorts every row and returns the rows' sizes, which are smaller where duplicates were united.
template <class T>
std::vector<std::size_t> sort_rows(const RatingsOptions& options, Team& team, RatingsData<T>& data) {
  std::vector<std::size_t> sizes(data.row_offsets.size() - 1);
  team.parallel_for(sizes.size(), kUsersAtATime, [&](std::size_t first, std::size_t last, std::uint32_t) {
    RowSorter<T> sorter(options.duplicates);
    for (std::size_t user = first; user < last; ++user) {
      const auto begin = static_cast<std::size_t>(data.row_offsets[user]);
      const auto size = static_cast<std::size_t>(data.row_offsets[user + 1]) - begin;
      sizes[user] =
          sorter.sort(std::span(data.items).subspan(begin, size), std::span(data.values).subspan(begin, size));
    }
  });
  return sizes;
}

template <class T>
void refuse_duplicates(const ByteSource& source, const RatingsData<T>& data, const std::vector<std::size_t>& sizes) {
  for (std::size_t user = 0; user < sizes.size(); ++user) {
    if (static_cast<std::int64_t>(sizes[user]) == data.row_offsets[user + 1] - data.row_offsets[user]) continue;
    throw InvalidArgument(source.name() + ": user " + data.user_ids.name(user) +
                          " rated an item more than once; say what to do with duplicates=: 'last', 'mean' or 'sum'");
  }
}

// Closes the gaps that united duplicates left.
template <class T>
void compact(const std::vector<std::size_t>& sizes, RatingsData<T>& data) {
  std::size_t end = 0;
  for (std::size_t user = 0; user < sizes.size(); ++user) {
    const auto begin = data.row_offsets[user];
    std::copy_n(data.items.begin() + begin, sizes[user], data.items.begin() + static_cast<std::ptrdiff_t>(end));
    std::copy_n(data.values.begin() + begin, sizes[user], data.values.begin() + static_cast<std::ptrdiff_t>(end));
    data.row_offsets[user] = static_cast<std::int64_t>(end);
    end += sizes[user];
  }
  data.row_offsets.back() = static_cast<std::int64_t>(end);
  data.items.resize(end);
  data.values.resize(end);
}

template <class T>
void number_ids(const std::vector<RatingsParser<T>>& parsers, std::vector<RatingsPart<T>>& parts, Team& team,
                RatingsData<T>& data) {
  std::vector<const IdTable*> users, items;
  for (const auto& parser : parsers) {
    users.push_back(&parser.users());
    items.push_back(&parser.items());
  }
  Codes user_codes, item_codes;
  data.user_ids = unite(users, user_codes);
  data.item_ids = unite(items, item_codes);
  recode(parts, user_codes, item_codes, team);
}

std::uint64_t skip_lines(const ByteSource& source, std::uint32_t n_lines) {
  std::uint64_t begin = 0;
  for (std::uint32_t line = 0; line < n_lines; ++line) begin = next_line(source, begin);
  return begin;
}

}  // namespace

template <class T>
RatingsData<T> read_ratings(const ByteSource& source, const RatingsOptions& options, Team& team, Control& control) {
  const std::uint64_t begin = skip_lines(source, options.header_lines);
  const std::vector<std::uint64_t> cuts = cut_at_lines(source, begin, source.size(), options.piece_bytes);
  std::vector<RatingsParser<T>> parsers(team.size(), RatingsParser<T>(options));
  std::vector<RatingsPart<T>> parts(cuts.size() - 1);
  RatingsData<T> data;
  data.stopped = parse_pieces(source, cuts, team, control, [&](const Piece& piece) {
    parts[piece.number] = parsers[piece.member].parse(piece.text);
    parts[piece.number].member = piece.member;
  });
  if (data.stopped) return data;
  number_ids(parsers, parts, team, data);
  collect_rows(parts, data.user_ids.size(), data);
  const std::vector<std::size_t> sizes = sort_rows(options, team, data);
  if (options.duplicates == Duplicates::refuse) refuse_duplicates(source, data, sizes);
  compact(sizes, data);
  return data;
}

template RatingsData<float> read_ratings(const ByteSource&, const RatingsOptions&, Team&, Control&);
template RatingsData<double> read_ratings(const ByteSource&, const RatingsOptions&, Team&, Control&);

}  // namespace steppe::io
