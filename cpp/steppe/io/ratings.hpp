#pragma once

#include <cstdint>
#include <string>

#include "steppe/io/byte_source.hpp"
#include "steppe/io/column.hpp"
#include "steppe/io/id_table.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/team.hpp"

namespace steppe::io {

// Delimited text, one rating a line: any ids of a user and an item, a number, and fields that are ignored.
// Fields may stand in double quotes, and blanks around them are dropped.

enum class Duplicates : std::uint8_t { refuse, last, mean, sum };

struct RatingsOptions {
  std::string separator = ",";  // " " stands for any run of blanks
  std::uint32_t user_column = 0, item_column = 1;
  std::int32_t value_column = 2;  // -1: every line counts 1
  std::uint32_t header_lines = 0;
  Duplicates duplicates = Duplicates::refuse;  // of one user and one item
  std::uint64_t piece_bytes = 1 << 20;
};

template <class T>
struct RatingsData {
  Column<std::int64_t> row_offsets;  // users + 1
  Column<std::int32_t> items;        // ascending and distinct in each row
  Column<T> values;
  IdList user_ids, item_ids;  // of the rows and of the columns
  bool stopped = false;       // control asked to: the data are incomplete
};

// Parses pieces of the source in parallel; the result does not depend on the number of threads. A line with
// too few fields, or a value that is no finite number: InvalidArgument with the file, the line's number and
// what was met.
template <class T>
RatingsData<T> read_ratings(const ByteSource& source, const RatingsOptions& options, Team& team, Control& control);

}  // namespace steppe::io
