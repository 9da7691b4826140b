#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "steppe/io/pieces.hpp"
#include "steppe/io/svmlight.hpp"

namespace steppe::io {

// The lines of one piece, parsed on one thread. Features go to a scratch that is large enough for any text of
// the piece's size, so that the inner loop never asks for room; `take_part` copies what was met.
template <class T>
class SvmlightParser {
 public:
  explicit SvmlightParser(const SvmlightOptions& options) : options_(options) {}

  // The part's offsets start at 0 and its sizes are exact. With options.keep false only the counts are
  // filled.
  SvmlightData<T> parse(std::string_view text);

 private:
  const char* parse_line(const char* p);
  const char* parse_labels(const char* p);
  const char* parse_label(const char* p, const char* token);
  const char* parse_query_id(const char* p);
  const char* parse_features(const char* p);
  void sort_row(std::size_t first, const char* line);
  void start(std::string_view text);
  SvmlightData<T> take_part() const;

  SvmlightOptions options_;
  std::size_t capacity_ = 0;
  std::unique_ptr<std::int32_t[]> indices_;
  std::unique_ptr<T[]> values_;
  std::size_t n_features_ = 0;
  std::uint64_t n_lines_ = 0;
  std::int32_t lowest_ = INT32_MAX, highest_ = -1;
  std::vector<std::int64_t> row_ends_, label_ends_, query_ids_;
  std::vector<double> labels_;
};

}  // namespace steppe::io
