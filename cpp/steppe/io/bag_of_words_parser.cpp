#include "steppe/io/bag_of_words_parser.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "steppe/io/numbers.hpp"

namespace steppe::io {

namespace {

bool is_blank(char c) noexcept { return c == ' ' || c == '\t' || c == '\r'; }

const char* skip_blanks(const char* p) noexcept {
  while (is_blank(*p)) ++p;
  return p;
}

bool ends_token(char c) noexcept { return is_blank(c) || c == '\n'; }

// A number with a blank or the line's end after it; nullptr if it is none.
const char* parse_token(const char* p, std::uint64_t& value) noexcept {
  p = parse_natural(p, value);
  return p != nullptr && ends_token(*p) ? p : nullptr;
}

[[noreturn]] void refuse_pair(const char* token) {
  throw MalformedLine(token, "expected word:count, whole numbers from 0 to 2147483647, got " + quoted(token));
}

[[noreturn]] void refuse_triple(const char* line) {
  throw MalformedLine(
      line, "expected three whole numbers, document, word and count, at a line that starts with " + quoted(line));
}

}  // namespace

std::int64_t leading_number(const char* line) noexcept {
  std::uint64_t value;
  return parse_token(skip_blanks(line), value) == nullptr ? -1 : static_cast<std::int64_t>(value);
}

BagOfWordsData BagOfWordsParser::parse(std::string_view text) {
  start();
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    p = skip_blanks(p);
    if (*p != '\n') p = options_.format == BagFormat::lda_c ? parse_document(p) : parse_triple(p);
    ++p;
    ++n_lines_;
  }
  if (current_ != kNone) close_row();
  return take_part();
}

void BagOfWordsParser::start() {
  pairs_.clear();
  row_ends_.clear();
  row_begin_ = 0;
  ascending_ = true;
  first_ = 0;
  current_ = kNone;
  n_lines_ = n_pairs_ = 0;
  highest_word_ = -1;
}

// `n word:count ...` up to the line's end.
const char* BagOfWordsParser::parse_document(const char* p) {
  row_line_ = p;
  std::uint64_t n_pairs = 0;
  p = parse_token(p, n_pairs);
  if (p == nullptr) {
    throw MalformedLine(row_line_, "the line must start with the number of its words, got " + quoted(row_line_));
  }
  std::uint64_t met = 0;
  for (p = skip_blanks(p); *p != '\n'; p = skip_blanks(p), ++met) {
    const char* const token = p;
    std::uint64_t word = 0, count = 0;
    p = parse_natural(p, word);
    if (p == nullptr || *p != ':') refuse_pair(token);
    p = parse_token(p + 1, count);
    if (p == nullptr) refuse_pair(token);
    add(word, count, token);
  }
  if (met != n_pairs) {
    throw MalformedLine(
        row_line_, "the line says that it has " + std::to_string(n_pairs) + " words, but has " + std::to_string(met));
  }
  close_row();
  return p;
}

// `document word count`.
const char* BagOfWordsParser::parse_triple(const char* p) {
  const char* const line = p;
  std::uint64_t document = 0, word = 0, count = 0;
  p = parse_token(p, document);
  if (p == nullptr) refuse_triple(line);
  const char* const token = skip_blanks(p);
  p = parse_token(token, word);
  if (p == nullptr) refuse_triple(line);
  p = parse_token(skip_blanks(p), count);
  if (p == nullptr) refuse_triple(line);
  p = skip_blanks(p);
  if (*p != '\n') refuse_triple(line);
  const std::int64_t number = static_cast<std::int64_t>(document) - options_.first;
  if (number != current_) open_document(number, line);
  add(word, count, token);
  return p;
}

void BagOfWordsParser::open_document(std::int64_t document, const char* line) {
  if (document < 0 || document >= options_.n_documents) {
    throw MalformedLine(line, "document " + quoted(line) + " is not one of the " +
                                  std::to_string(options_.n_documents) + ", which count from " +
                                  std::to_string(options_.first));
  }
  if (document < current_) {
    throw MalformedLine(line, "document " + std::to_string(document + options_.first) +
                                  " comes after a later one; sort the lines by document");
  }
  if (current_ == kNone) {
    first_ = document;
  } else {
    close_row();
    row_ends_.resize(row_ends_.size() + static_cast<std::size_t>(document - current_ - 1),
                     static_cast<std::int64_t>(pairs_.size()));  // documents without words
  }
  current_ = document;
  row_line_ = line;
}

void BagOfWordsParser::add(std::uint64_t word, std::uint64_t count, const char* token) {
  const auto first = static_cast<std::uint64_t>(options_.first);
  if (word < first) throw MalformedLine(token, "word 0 was met, but words count from 1; use zero_based=True");
  if (word - first >= static_cast<std::uint64_t>(options_.n_words)) {
    throw MalformedLine(token, "word " + std::to_string(word) + " is not one of the " +
                                   std::to_string(options_.n_words) + ", which count from " +
                                   std::to_string(options_.first));
  }
  if (count > INT32_MAX) {
    throw MalformedLine(token, "a count must be below 2147483648, got " + std::to_string(count));
  }
  ++n_pairs_;
  const auto index = static_cast<std::int32_t>(word - first);
  highest_word_ = std::max(highest_word_, index);
  if (count == 0) return;
  ascending_ &= pairs_.size() == row_begin_ || pairs_.back().word < index;
  pairs_.push_back({index, static_cast<std::int32_t>(count)});
}

void BagOfWordsParser::close_row() {
  if (!ascending_) sort_row();
  ascending_ = true;
  row_begin_ = pairs_.size();
  row_ends_.push_back(static_cast<std::int64_t>(row_begin_));
}

void BagOfWordsParser::sort_row() {
  const auto begin = pairs_.begin() + static_cast<std::ptrdiff_t>(row_begin_);
  std::sort(begin, pairs_.end(), [](const Pair& a, const Pair& b) { return a.word < b.word; });
  const auto twice =
      std::adjacent_find(begin, pairs_.end(), [](const Pair& a, const Pair& b) { return a.word == b.word; });
  if (twice == pairs_.end()) return;
  throw MalformedLine(row_line_, "word " + std::to_string(twice->word + options_.first) +
                                     " occurs more than once in the document that starts here");
}

BagOfWordsData BagOfWordsParser::take_part() {
  BagOfWordsData part;
  part.n_rows = row_ends_.size();
  part.n_lines = n_lines_;
  part.n_pairs = n_pairs_;
  part.first_document = first_;
  part.highest_word = highest_word_;
  if (!options_.keep) return part;
  part.row_offsets.assign(row_ends_.begin(), row_ends_.end());
  part.words.resize(pairs_.size());
  part.counts.resize(pairs_.size());
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    part.words[i] = pairs_[i].word;
    part.counts[i] = pairs_[i].count;
  }
  return part;
}

}  // namespace steppe::io
