#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "steppe/io/id_table.hpp"
#include "steppe/io/ratings.hpp"

namespace steppe::io {

// The ratings of one piece, in the file's order; codes are those of the thread that parsed it.
template <class T>
struct RatingsPart {
  std::uint32_t member = 0;
  std::vector<std::int32_t> users, items;
  std::vector<T> values;
};

// What one thread knows: the ids it has met so far. Used for one piece after the other.
template <class T>
class RatingsParser {
 public:
  explicit RatingsParser(const RatingsOptions& options);

  RatingsPart<T> parse(std::string_view text);
  const IdTable& users() const noexcept { return users_; }
  const IdTable& items() const noexcept { return items_; }

 private:
  void parse_line(std::string_view line, RatingsPart<T>& part);
  void split(std::string_view line);
  std::size_t end_of_field(std::string_view line, std::size_t begin) const;
  std::string_view required(std::string_view line, std::size_t column) const;
  T parse_value(std::string_view line) const;

  RatingsOptions options_;
  std::size_t n_needed_;
  std::vector<std::string_view> fields_;  // of the current line, with their quotes, up to the last that is needed
  IdTable users_, items_;
};

}  // namespace steppe::io
