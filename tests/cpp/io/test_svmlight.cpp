#include "steppe/io/svmlight.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "steppe/core/errors.hpp"

using namespace steppe;
using namespace steppe::io;

namespace {

template <class T = double>
SvmlightData<T> read(const std::string& text, SvmlightOptions options = {}, std::uint32_t n_threads = 1) {
  const MemorySource source("text", text);
  Team team(n_threads);
  Control control;
  return read_svmlight<T>(source, options, team, control);
}

template <class V>
std::vector<V> list(const Column<V>& column) {
  return {column.begin(), column.end()};
}

std::string random_text(std::uint64_t seed, int n_lines) {
  const auto next = [&seed](std::uint64_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
  };
  std::string text;
  for (int line = 0; line < n_lines; ++line) {
    text.append(std::to_string(next(5))).append(" qid:").append(std::to_string(next(9)));
    for (std::uint64_t index = next(4); index < 40; index += 1 + next(9)) {
      text.append(" ").append(std::to_string(index)).append(":").append(std::to_string(next(1000)));
      text.append(".").append(std::to_string(next(100000)));
    }
    text += next(5) == 0 ? " # 1:2\n\n" : "\n";
  }
  return text;
}

template <class T>
void check_equal(const SvmlightData<T>& left, const SvmlightData<T>& right) {
  CHECK(list(left.row_offsets) == list(right.row_offsets));
  CHECK(list(left.indices) == list(right.indices));
  CHECK(list(left.values) == list(right.values));
  CHECK(list(left.labels) == list(right.labels));
  CHECK(list(left.query_ids) == list(right.query_ids));
  CHECK(left.n_lines == right.n_lines);
  CHECK(left.lowest_index == right.lowest_index);
  CHECK(left.highest_index == right.highest_index);
}

}  // namespace

TEST_CASE("the format") {
  SvmlightOptions options;
  options.query_id = true;
  const auto data = read("# comment\n-1.5 qid:3 1:0.5\t4:2e1 # c 9:9\n\n +2 qid:-4 7:1 2:3#x\n3 qid:0", options);
  CHECK(list(data.row_offsets) == std::vector<std::int64_t>{0, 2, 4, 4});
  CHECK(list(data.indices) == std::vector<std::int32_t>{1, 4, 2, 7});
  CHECK(list(data.values) == std::vector<double>{0.5, 20, 3, 1});
  CHECK(list(data.labels) == std::vector<double>{-1.5, 2, 3});
  CHECK(list(data.query_ids) == std::vector<std::int64_t>{3, -4, 0});
  CHECK(data.n_rows == 3);
  CHECK(data.n_nonzeros == 4);
  CHECK(data.n_lines == 5);
  CHECK(data.lowest_index == 1);
  CHECK(data.highest_index == 7);
}

TEST_CASE("several labels a line, or none") {
  SvmlightOptions options;
  options.multilabel = true;
  const auto data = read("3,1 1:2\n 1:5\n7\nqid:2 1:1\n", options);
  CHECK(list(data.labels) == std::vector<double>{1, 3, 7});
  CHECK(list(data.label_offsets) == std::vector<std::int64_t>{0, 2, 2, 3, 3});
  CHECK(data.n_nonzeros == 3);
}

TEST_CASE("no line, no data") {
  const auto data = read("\n# only this\n");
  CHECK(list(data.row_offsets) == std::vector<std::int64_t>{0});
  CHECK(data.highest_index == -1);
  CHECK(list(read("").row_offsets) == std::vector<std::int64_t>{0});
}

TEST_CASE_TEMPLATE("pieces and threads change nothing", T, float, double) {
  SvmlightOptions options;
  options.query_id = true;
  const std::string text = random_text(1, 300);
  const auto whole = read<T>(text, options);
  CHECK(whole.n_rows == 300);
  for (const std::uint64_t bytes : {1, 64, 1000}) {
    for (const std::uint32_t threads : {1, 2, 4}) {
      options.piece_bytes = bytes;
      check_equal(read<T>(text, options, threads), whole);
    }
  }
  options.keep = false;
  const auto counted = read<T>(text, options, 2);
  CHECK(counted.n_nonzeros == whole.indices.size());
  CHECK(counted.indices.empty());
}

TEST_CASE("adjacent ranges share no line and lose none") {
  const std::string text = random_text(2, 20);
  const auto whole = read(text);
  for (std::uint64_t cut = 1; cut < text.size(); ++cut) {
    SvmlightOptions front, back;
    front.length = cut;
    back.offset = cut;
    auto values = list(read(text, front).values);
    for (const double value : read(text, back).values) values.push_back(value);
    CHECK(values == list(whole.values));
  }
}

TEST_CASE("the first malformed line is named") {
  std::string text = random_text(3, 50) + "1 1:2\n";
  const auto good = static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
  text += "1 2:x\n" + random_text(4, 50) + "worse\n";
  const std::string message = "text, line " + std::to_string(good + 8) +
                              ": a feature must be index:value with a whole index from 0 to 2147483647, got '2:x'";
  SvmlightOptions options;
  options.lines_before = 7;
  options.piece_bytes = 100;
  for (const std::uint32_t threads : {1, 2, 4}) {
    CHECK_THROWS_WITH_AS(read(text, options, threads), message.c_str(), InvalidArgument);
  }
}

TEST_CASE("control stops the reading") {
  struct Stop final : Control {
    bool poll() override { return true; }
  };
  const std::string text = random_text(5, 200000);
  const MemorySource source("text", text);
  Team team(2);
  Stop stop;
  SvmlightOptions options;
  options.piece_bytes = 64;
  // A fast machine may be done before the first poll: then the data are whole.
  const auto data = read_svmlight<float>(source, options, team, stop);
  CHECK((data.stopped || data.n_rows == 200000));
}
