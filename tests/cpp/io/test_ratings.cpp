#include "steppe/io/ratings.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "steppe/core/errors.hpp"

using namespace steppe;
using namespace steppe::io;

namespace {

using Table = std::map<std::pair<std::string, std::string>, double>;

RatingsData<double> read(const std::string& text, RatingsOptions options = {}, std::uint32_t n_threads = 1) {
  const MemorySource source("text", text);
  Team team(n_threads);
  Control control;
  return read_ratings<double>(source, options, team, control);
}

Table table(const RatingsData<double>& data) {
  Table result;
  for (std::size_t user = 0; user < data.user_ids.size(); ++user) {
    for (auto i = data.row_offsets[user]; i < data.row_offsets[user + 1]; ++i) {
      const auto item = static_cast<std::size_t>(data.items[static_cast<std::size_t>(i)]);
      result[{data.user_ids.name(user), data.item_ids.name(item)}] = data.values[static_cast<std::size_t>(i)];
    }
  }
  return result;
}

RatingsOptions separated_by(std::string separator) {
  RatingsOptions options;
  options.separator = std::move(separator);
  return options;
}

}  // namespace

TEST_CASE("ids are numbers where all are, else text, and sorted") {
  const auto data = read("10,b,1\n9,a,2\n-3,7,3\n");
  CHECK(data.user_ids.integers);
  CHECK(std::vector<std::int64_t>(data.user_ids.numbers.begin(), data.user_ids.numbers.end()) ==
        std::vector<std::int64_t>{-3, 9, 10});
  CHECK(data.item_ids.texts == std::vector<std::string>{"7", "a", "b"});
  CHECK(table(data) == Table{{{"10", "b"}, 1}, {{"9", "a"}, 2}, {{"-3", "7"}, 3}});
}

TEST_CASE("separators, quotes and other columns") {
  const Table expected{{{"1", "x y"}, 2}, {{"2", "z"}, 3.5}};
  CHECK(table(read("1::x y::2::99\n2::z::3.5\r\n", separated_by("::"))) == expected);
  CHECK(table(read("1\tx y\t2\n\n2\tz\t3.5\t0", separated_by("\t"))) == expected);
  CHECK(table(read(" \"1\" , \"x y\",2\n2,z,3.5,\"a \"\"b\"\", c\"\n")) == expected);
  RatingsOptions options = separated_by(" ");
  options.user_column = 3;
  options.item_column = 0;
  options.value_column = 1;
  options.header_lines = 1;
  CHECK(table(read("item stars time user\n z  3.5\t0  2 \nw 1 0 1\n", options)) ==
        Table{{{"2", "z"}, 3.5}, {{"1", "w"}, 1}});
  options.value_column = -1;
  CHECK(table(read("\nz 9 0 2\n", options)) == Table{{{"2", "z"}, 1}});
}

TEST_CASE("pieces and threads change nothing") {
  std::string text;
  for (int i = 0; i < 2000; ++i) {
    for (const int field : {i * 7 % 90, i * 31 % 1999, i % 9}) text.append(std::to_string(field)).append(",");
    text += 'u';
    text.append(std::to_string(i * 7 % 90)).append("\n");
  }
  RatingsOptions options;
  options.user_column = 3;
  options.duplicates = Duplicates::last;
  const Table whole = table(read(text, options));
  for (const std::uint64_t bytes : {1, 100, 5000}) {
    for (const std::uint32_t threads : {1, 2, 4}) {
      options.piece_bytes = bytes;
      CHECK(table(read(text, options, threads)) == whole);
    }
  }
}

TEST_CASE("one user, one item, several lines") {
  const std::string text = "1,7,1\n1,8,2\n2,7,4\n1,7,5\n";
  const auto first = [&](Duplicates duplicates) {
    RatingsOptions options;
    options.duplicates = duplicates;
    const auto data = read(text, options);
    CHECK(data.items.size() == 3);
    CHECK(data.row_offsets.back() == 3);
    return table(data)[{"1", "7"}];
  };
  CHECK(first(Duplicates::last) == 5);
  CHECK(first(Duplicates::mean) == 3);
  CHECK(first(Duplicates::sum) == 6);
  CHECK_THROWS_AS(first(Duplicates::refuse), InvalidArgument);
}

TEST_CASE("malformed lines are named") {
  const auto refuses = [](const std::string& text, const char* message) {
    CHECK_THROWS_WITH_AS(read(text), message, InvalidArgument);
  };
  refuses("1,2,3\n1,2\n",
          "text, line 2: column 2 is needed, but there are only 2 fields, starting with '1,2'; "
          "see sep and columns");
  refuses("1,2,x\n", "text, line 1: the rating must be a finite number, got 'x'");
  refuses("1,2,3x\n", "text, line 1: the rating must be a finite number, got '3x'");
  refuses("1,,3\n", "text, line 1: column 1 is empty");
  refuses("\"1,2,3\n", "text, line 1: a quoted field does not end, got '\"1,2,3'");
  refuses("\"1\"\"2\",2,3\n", "text, line 1: column 0 holds quotes");
}

TEST_CASE("a table of ids grows and forgets nothing") {
  IdTable ids;
  for (int round = 0; round < 2; ++round) {
    for (std::int32_t id = 0; id < 5000; ++id) CHECK(ids.code(std::to_string(id * 37)) == id);
  }
  CHECK(ids.size() == 5000);
  CHECK(ids.text(4999) == std::to_string(4999 * 37));
}
