#pragma once

#include <cstdint>
#include <string_view>

#include "steppe/io/byte_source.hpp"
#include "steppe/io/column.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe::io {

// Counts of words in documents. lda_c: a line is a document, `n word:count ...` with n pairs. uci: after a header a
// line is `document word count`, documents ascending from 1; those without words have no line.
enum class BagFormat : std::uint8_t { lda_c, uci };

struct BagOfWordsOptions {
  BagFormat format = BagFormat::lda_c;
  std::uint64_t header_bytes = 0;  // whole lines at the start of the source, not parsed
  std::uint64_t offset = 0;  // documents that start in (offset, offset + length], and the first if offset <= header
  std::uint64_t length = UINT64_MAX;
  std::uint64_t lines_before = 0;        // of a source that is itself a part of a file: for error messages
  std::uint64_t piece_bytes = 1 << 20;   // what a thread takes at a time
  std::int32_t first = 0;                // number of the first word, 0 or 1; for uci also of the first document
  std::int64_t n_documents = INT32_MAX;  // more are refused
  std::int64_t n_words = INT32_MAX;      // of the vocabulary: words beyond are refused
  bool keep = true;                      // false: check the lines and count, but keep no document
};

struct BagOfWordsData {
  Column<std::int64_t> row_offsets;  // rows + 1
  Column<std::int32_t> words;        // from 0; ascending and distinct in each row
  Column<std::int32_t> counts;       // at least 1: a pair that counts 0 is dropped
  std::uint64_t n_rows = 0, n_lines = 0;
  std::uint64_t n_pairs = 0;        // as in the file, so with those that count 0
  std::int64_t first_document = 0;  // uci: of the first row, from 0
  std::int32_t highest_word = -1;   // from 0
  bool stopped = false;             // control asked to: the data are incomplete
};

// Parses pieces of the source in parallel; the result does not depend on the number of threads. Rows are lda_c's
// lines, or uci's documents from the first to the last that the range holds. A malformed line, a word twice in a
// document, or documents that do not ascend: InvalidArgument with the file, the line's number and what was met.
BagOfWordsData read_bag_of_words(const ByteSource& source, const BagOfWordsOptions& options, Team& team,
                                 Control& control);

// Where the last document of uci text starts: what follows the text may belong to it.
std::size_t last_document_start(std::string_view text);

}  // namespace steppe::io
