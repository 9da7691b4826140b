#include "steppe/io/numbers.hpp"

#include <algorithm>

namespace steppe::io::detail {

namespace {

// The end of the longest decimal number that starts here (no sign), or nullptr. from_chars needs it as its
// bound.
const char* end_of_decimal(const char* p) noexcept {
  const auto skip_digits = [&p] {
    const char* const first = p;
    while (is_digit(*p)) ++p;
    return p != first;
  };
  const bool whole = skip_digits();
  const bool fraction = *p == '.' && (++p, skip_digits());
  if (!whole && !fraction) return nullptr;
  if ((*p | 0x20) == 'e') {
    const char* const mark = p++;
    if (*p == '-' || *p == '+') ++p;
    if (!skip_digits()) p = mark;
  }
  return p;
}

// A number that no finite double is near to: from_chars leaves open on which side. Its decimal exponent
// tells.
double beyond_range(const char* p, const char* end) noexcept {
  std::int64_t magnitude = 0;  // position of the first nonzero digit before (positive) or after the point
  while (p != end && *p == '0') ++p;
  while (p != end && is_digit(*p)) ++p, ++magnitude;
  if (magnitude == 0 && p != end && *p == '.') {
    for (++p; p != end && *p == '0'; ++p) --magnitude;
  }
  const char* const mark = std::find_if(p, end, [](char c) { return (c | 0x20) == 'e'; });
  if (mark != end) {
    const bool negative = mark[1] == '-';
    std::int64_t scale = 0;
    for (const char* q = mark + 1; q != end; ++q) {
      if (is_digit(*q)) scale = std::min<std::int64_t>(scale * 10 + (*q - '0'), std::int64_t{1} << 50);
    }
    magnitude += negative ? -scale : scale;
  }
  return magnitude > 0 ? std::numeric_limits<double>::infinity() : 0.0;
}

const char* match(const char* p, const char* word) noexcept {
  for (; *word != '\0'; ++p, ++word) {
    if ((*p | 0x20) != *word) return nullptr;
  }
  return p;
}

const char* parse_special(const char* p, double& magnitude) noexcept {
  if (const char* end = match(p, "nan")) {
    magnitude = std::numeric_limits<double>::quiet_NaN();
    return end;
  }
  magnitude = std::numeric_limits<double>::infinity();
  if (const char* end = match(p, "infinity")) return end;
  return match(p, "inf");
}

}  // namespace

const char* parse_real_exactly(const char* begin, double& value) noexcept {
  const bool negative = *begin == '-';
  const char* const first = begin + (negative || *begin == '+');
  double magnitude = 0;
  const char* end = end_of_decimal(first);
  if (end == nullptr) {
    end = parse_special(first, magnitude);
    if (end == nullptr) return nullptr;
  } else if (std::from_chars(first, end, magnitude).ec != std::errc()) {
    magnitude = beyond_range(first, end);
  }
  value = negative ? -magnitude : magnitude;
  return end;
}

}  // namespace steppe::io::detail
