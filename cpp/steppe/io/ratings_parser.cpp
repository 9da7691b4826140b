#include "steppe/io/ratings_parser.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "steppe/io/numbers.hpp"
#include "steppe/io/pieces.hpp"

namespace steppe::io {

namespace {

constexpr std::string_view kBlanks = " \t\r\v\f";

std::string_view trimmed(std::string_view text) noexcept {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

bool is_quoted(std::string_view field) noexcept {
  return field.size() >= 2 && field.front() == '"' && field.back() == '"';
}

// The quote that ends the field whose first quote is at `begin`; a doubled quote stands for one inside.
std::size_t closing_quote(std::string_view line, std::size_t begin) {
  for (std::size_t quote = begin;;) {
    quote = line.find('"', quote + 1);
    if (quote == std::string_view::npos) {
      throw MalformedLine(line.data(), "a quoted field does not end, got " + quoted(line.data() + begin));
    }
    if (quote + 1 == line.size() || line[quote + 1] != '"') return quote;
    ++quote;
  }
}

}  // namespace

template <class T>
RatingsParser<T>::RatingsParser(const RatingsOptions& options) : options_(options) {
  const auto value_column = static_cast<std::uint32_t>(std::max(options.value_column, 0));
  n_needed_ = std::size_t{std::max({options.user_column, options.item_column, value_column})} + 1;
}

template <class T>
RatingsPart<T> RatingsParser<T>::parse(std::string_view text) {
  RatingsPart<T> part;
  while (!text.empty()) {
    const std::size_t size = std::min(text.find('\n'), text.size());
    parse_line(text.substr(0, size), part);
    text.remove_prefix(std::min(size + 1, text.size()));
  }
  return part;
}

template <class T>
void RatingsParser<T>::parse_line(std::string_view line, RatingsPart<T>& part) {
  split(line);
  if (fields_.size() == 1 && fields_[0].empty()) return;  // a blank line
  const std::string_view user = required(line, options_.user_column);
  const std::string_view item = required(line, options_.item_column);
  part.values.push_back(parse_value(line));
  part.users.push_back(users_.code(user));
  part.items.push_back(items_.code(item));
}

template <class T>
void RatingsParser<T>::split(std::string_view line) {
  fields_.clear();
  const bool blanks = options_.separator == " ";
  if (blanks) line = trimmed(line);
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = std::min(end_of_field(line, begin), line.size());
    fields_.push_back(trimmed(line.substr(begin, end - begin)));
    if (end == line.size() || fields_.size() == n_needed_) return;
    begin = blanks ? line.find_first_not_of(kBlanks, end) : end + options_.separator.size();
  }
}

// A separator inside quotes separates nothing.
template <class T>
std::size_t RatingsParser<T>::end_of_field(std::string_view line, std::size_t begin) const {
  if (options_.separator == " ") return line.find_first_of(kBlanks, begin);
  if (begin < line.size() && line[begin] == '"') begin = closing_quote(line, begin);
  return line.find(options_.separator, begin);
}

template <class T>
std::string_view RatingsParser<T>::required(std::string_view line, std::size_t column) const {
  if (column >= fields_.size()) {
    throw MalformedLine(line.data(), "column " + std::to_string(column) + " is needed, but there are only " +
                                         std::to_string(fields_.size()) + " fields, starting with " +
                                         quoted(line.data()) + "; see sep and columns");
  }
  std::string_view field = fields_[column];
  if (is_quoted(field)) field = field.substr(1, field.size() - 2);
  if (field.empty() || field.find("\"\"") != std::string_view::npos) {
    throw MalformedLine(line.data(),
                        "column " + std::to_string(column) + (field.empty() ? " is empty" : " holds quotes"));
  }
  return field;
}

template <class T>
T RatingsParser<T>::parse_value(std::string_view line) const {
  if (options_.value_column < 0) return T{1};
  const std::string_view field = required(line, static_cast<std::size_t>(options_.value_column));
  double value = 0;
  const char* const end = parse_real(field.data(), value);
  if (end != field.data() + field.size() || !std::isfinite(static_cast<T>(value))) {
    throw MalformedLine(line.data(), "the rating must be a finite number, got '" + std::string(field) + "'");
  }
  return static_cast<T>(value);
}

template class RatingsParser<float>;
template class RatingsParser<double>;

}  // namespace steppe::io
