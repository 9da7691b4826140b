#include "steppe/io/svmlight_parser.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "steppe/io/numbers.hpp"

namespace steppe::io {

namespace {

constexpr std::size_t kShortestFeature = 4;  // bytes of " 1:1"

// Blanks inside a line, as Python's bytes.split() sees them.
bool is_blank(char c) noexcept { return c == ' ' || (c != '\n' && c >= '\t' && c <= '\r'); }

const char* skip_blanks(const char* p) noexcept {
  while (is_blank(*p)) ++p;
  return p;
}

bool ends_line(char c) noexcept { return c == '\n' || c == '#'; }
bool ends_token(char c) noexcept { return is_blank(c) || ends_line(c); }

// A line without labels, which multilabel allows.
bool starts_with_feature(const char* p) noexcept {
  double ignored;
  const char* const end = parse_real(p, ignored);
  return *p == 'q' || (end != nullptr && *end == ':');
}

[[noreturn]] void refuse_label(const char* token) {
  const std::string met = quoted(token);
  const bool list = met.find(',') != std::string::npos;
  throw MalformedLine(token, "the label must be a number, got " + met + (list ? "; see multilabel=True" : ""));
}

[[noreturn]] void refuse_feature(const char* token) {
  throw MalformedLine(token,
                      "a feature must be index:value with a whole index from 0 to 2147483647, got " + quoted(token));
}

}  // namespace

template <class T>
SvmlightData<T> SvmlightParser<T>::parse(std::string_view text) {
  start(text);
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    p = parse_line(p);
    p = static_cast<const char*>(std::memchr(p, '\n', static_cast<std::size_t>(end - p) + 1)) + 1;
    ++n_lines_;
  }
  return take_part();
}

template <class T>
void SvmlightParser<T>::start(std::string_view text) {
  const std::size_t most = text.size() / kShortestFeature + 1;
  if (most > capacity_) {
    capacity_ = most;
    indices_ = std::make_unique_for_overwrite<std::int32_t[]>(most);
    values_ = std::make_unique_for_overwrite<T[]>(most);
  }
  n_features_ = 0;
  n_lines_ = 0;
  lowest_ = INT32_MAX;
  highest_ = -1;
  row_ends_.clear();
  label_ends_.clear();
  query_ids_.clear();
  labels_.clear();
}

// Up to the line's end or comment.
template <class T>
const char* SvmlightParser<T>::parse_line(const char* p) {
  p = skip_blanks(p);
  if (ends_line(*p)) return p;
  p = skip_blanks(parse_labels(p));
  p = parse_query_id(p);
  p = parse_features(p);
  row_ends_.push_back(static_cast<std::int64_t>(n_features_));
  return p;
}

template <class T>
const char* SvmlightParser<T>::parse_labels(const char* p) {
  if (!options_.multilabel) return parse_label(p, p);
  const std::size_t first = labels_.size();
  if (!starts_with_feature(p)) {
    const char* const token = p;
    p = parse_label(p, token);
    while (*p == ',') p = parse_label(p + 1, token);
  }
  std::sort(labels_.begin() + static_cast<std::ptrdiff_t>(first), labels_.end());
  label_ends_.push_back(static_cast<std::int64_t>(labels_.size()));
  return p;
}

template <class T>
const char* SvmlightParser<T>::parse_label(const char* p, const char* token) {
  double label = 0;
  const char* const end = parse_real(p, label);
  if (end == nullptr || !(ends_token(*end) || (options_.multilabel && *end == ','))) refuse_label(token);
  labels_.push_back(label);
  return end;
}

template <class T>
const char* SvmlightParser<T>::parse_query_id(const char* p) {
  if (*p != 'q') {
    if (options_.query_id) throw MalformedLine(p, "query_id=True needs 'qid:' after the label, got " + quoted(p));
    return p;
  }
  std::int64_t id = 0;
  const char* const end = std::strncmp(p, "qid:", 4) == 0 ? parse_integer(p + 4, id) : nullptr;
  if (end == nullptr || !ends_token(*end)) {
    throw MalformedLine(p, "a query id must be qid: and a whole number, got " + quoted(p));
  }
  if (options_.query_id) query_ids_.push_back(id);
  return end;
}

template <class T>
const char* SvmlightParser<T>::parse_features(const char* p) {
  const std::size_t first = n_features_;
  std::int64_t previous = -1;
  bool ascending = true;
  const char* const line = p;
  for (;;) {
    p = skip_blanks(p);
    if (ends_line(*p)) break;
    const char* const token = p;
    std::uint64_t index = 0;
    double value = 0;
    p = parse_natural(p, index);
    if (p == nullptr || *p != ':' || index > INT32_MAX) refuse_feature(token);
    p = parse_real(p + 1, value);
    if (p == nullptr || !ends_token(*p)) refuse_feature(token);
    ascending &= static_cast<std::int64_t>(index) > previous;
    previous = static_cast<std::int64_t>(index);
    indices_[n_features_] = static_cast<std::int32_t>(index);
    values_[n_features_] = static_cast<T>(value);
    ++n_features_;
  }
  if (n_features_ == first) return p;
  if (!ascending) sort_row(first, line);
  if (indices_[first] < options_.lowest_index) {
    throw MalformedLine(line, "zero_based=False, but feature index 0 was met; use zero_based=True");
  }
  lowest_ = std::min(lowest_, indices_[first]);
  highest_ = std::max(highest_, indices_[n_features_ - 1]);
  return p;
}

template <class T>
void SvmlightParser<T>::sort_row(std::size_t first, const char* line) {
  std::vector<std::pair<std::int32_t, T>> row;
  row.reserve(n_features_ - first);
  for (std::size_t i = first; i < n_features_; ++i) row.emplace_back(indices_[i], values_[i]);
  std::sort(row.begin(), row.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (i > 0 && row[i].first == row[i - 1].first) {
      throw MalformedLine(line, "feature index " + std::to_string(row[i].first) + " occurs more than once");
    }
    indices_[first + i] = row[i].first;
    values_[first + i] = row[i].second;
  }
}

template <class T>
SvmlightData<T> SvmlightParser<T>::take_part() const {
  SvmlightData<T> part;
  part.n_rows = row_ends_.size();
  part.n_nonzeros = n_features_;
  part.n_lines = n_lines_;
  part.lowest_index = lowest_;
  part.highest_index = highest_;
  if (!options_.keep) return part;
  part.row_offsets.assign(row_ends_.begin(), row_ends_.end());
  part.indices.assign(indices_.get(), indices_.get() + n_features_);
  part.values.assign(values_.get(), values_.get() + n_features_);
  part.labels.assign(labels_.begin(), labels_.end());
  part.label_offsets.assign(label_ends_.begin(), label_ends_.end());
  part.query_ids.assign(query_ids_.begin(), query_ids_.end());
  return part;
}

template class SvmlightParser<float>;
template class SvmlightParser<double>;

}  // namespace steppe::io
