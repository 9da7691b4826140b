#pragma once

#include <cstdint>

#include "steppe/io/byte_source.hpp"
#include "steppe/io/column.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe::io {

// The svmlight (LibSVM) text format, one example a line: `label [qid:group] index:value ... [# comment]`.
// With multilabel, `label` is a list without blanks, "3,7", and may be absent.

struct SvmlightOptions {
  std::uint64_t offset = 0;  // lines that start in (offset, offset + length], and line 1 if offset is 0
  std::uint64_t length = UINT64_MAX;
  std::uint64_t lines_before = 0;       // of a source that is itself a part of a file: for error messages
  std::uint64_t piece_bytes = 1 << 20;  // what a thread takes at a time: its scratch stays in the cache
  std::int32_t lowest_index = 0;        // 1 refuses index 0
  bool multilabel = false;
  bool query_id = false;  // require and keep `qid`
  bool keep = true;       // false: check the lines and count, but keep no example
};

template <class T>
struct SvmlightData {
  Column<std::int64_t> row_offsets;  // rows + 1
  Column<std::int32_t> indices;      // as in the file; ascending and distinct in each row
  Column<T> values;                  // read as double, then rounded to T
  Column<double> labels;
  Column<std::int64_t> label_offsets;  // rows + 1 if multilabel, else empty
  Column<std::int64_t> query_ids;      // empty unless asked for
  std::uint64_t n_rows = 0, n_nonzeros = 0, n_lines = 0;
  std::int32_t lowest_index = INT32_MAX, highest_index = -1;  // as they are when no feature was met
  bool stopped = false;                                       // control asked to: the data are incomplete
};

// Parses pieces of the source in parallel. Any malformed line: InvalidArgument with the file, the line's
// number and what was met. Unsorted indices are sorted; an index that occurs twice in a line is refused.
template <class T>
SvmlightData<T> read_svmlight(const ByteSource& source, const SvmlightOptions& options, Team& team, Control& control);

}  // namespace steppe::io
