#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "steppe/io/bag_of_words.hpp"
#include "steppe/io/pieces.hpp"

namespace steppe::io {

// The documents of one piece, parsed on one thread. Pairs go to a scratch that stays in the cache; `take_part` copies
// them.
class BagOfWordsParser {
 public:
  explicit BagOfWordsParser(const BagOfWordsOptions& options) : options_(options) {}

  // The text holds whole documents. The part's row_offsets are the ends of its rows, so one fewer than the whole's.
  BagOfWordsData parse(std::string_view text);

 private:
  static constexpr std::int64_t kNone = -2;  // -1 may be what a file calls document 0

  struct Pair {
    std::int32_t word, count;
  };

  void start();
  const char* parse_document(const char* p);
  const char* parse_triple(const char* p);
  void open_document(std::int64_t document, const char* line);
  void add(std::uint64_t word, std::uint64_t count, const char* token);
  void close_row();
  void sort_row();
  BagOfWordsData take_part();

  BagOfWordsOptions options_;
  std::vector<Pair> pairs_;
  std::vector<std::int64_t> row_ends_;
  std::size_t row_begin_ = 0;                 // of the open row's pairs
  bool ascending_ = true;                     // the open row's words so far
  const char* row_line_ = nullptr;            // where the open row starts
  std::int64_t first_ = 0, current_ = kNone;  // uci's documents, from 0
  std::uint64_t n_lines_ = 0, n_pairs_ = 0;
  std::int32_t highest_word_ = -1;
};

// The number that a line starts with, or -1.
std::int64_t leading_number(const char* line) noexcept;

}  // namespace steppe::io
