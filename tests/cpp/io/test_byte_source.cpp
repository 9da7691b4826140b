#include "steppe/io/byte_source.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "steppe/core/errors.hpp"

using namespace steppe;
using namespace steppe::io;

namespace {

std::string between(const ByteSource& source, std::uint64_t begin, std::uint64_t end) {
  std::string text(end - begin, '\0');
  source.read(begin, text);
  return text;
}

}  // namespace

TEST_CASE("cuts are line starts, and pieces put together are the text") {
  for (const std::string text :
       {"", "\n", "a", "a\nbb\n\nccc\n", "a\nbb\n\nccc", "\n\n\n", "a long line without an end"}) {
    const MemorySource source("text", text);
    for (std::uint64_t bytes = 1; bytes < 8; ++bytes) {
      const auto cuts = cut_at_lines(source, 0, source.size(), bytes);
      std::string joined;
      for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        const std::string piece = between(source, cuts[i], cuts[i + 1]);
        CHECK(!piece.empty());
        if (cuts[i + 1] != text.size()) CHECK(piece.back() == '\n');
        joined += piece;
      }
      CHECK(joined == text);
    }
  }
}

TEST_CASE("every line starts in exactly one of two adjacent ranges") {
  const std::string text = "a\nbb\n\nccc\nd";
  const MemorySource source("text", text);
  CHECK(line_start_after(source, 0) == 0);
  for (std::uint64_t position = 1; position <= text.size(); ++position) {
    const std::size_t line_end = text.find('\n', position);
    CHECK(line_start_after(source, position) == (line_end == std::string::npos ? text.size() : line_end + 1));
  }
  CHECK(next_line(source, 0) == 2);
  CHECK(line_number(source, 0) == 1);
  CHECK(line_number(source, 5) == 3);
  CHECK(line_number(source, text.size()) == 5);
}

TEST_CASE("a file is read like memory, and one cut short is an error") {
  std::FILE* file = std::tmpfile();
  REQUIRE(file != nullptr);
  std::string text;
  for (int line = 0; line < 5000; ++line) text.append("line ").append(std::to_string(line)).append("\n");
  std::fputs(text.c_str(), file);
  std::fflush(file);
  const FileSource source("numbers.txt", fileno(file));
  CHECK(source.size() == text.size());
  CHECK(between(source, 0, text.size()) == text);
  CHECK(line_start_after(source, text.size() / 2) == text.find('\n', text.size() / 2) + 1);
  CHECK(line_number(source, text.size() - 1) == 5000);
  REQUIRE(ftruncate(fileno(file), 100) == 0);
  CHECK_THROWS_WITH_AS(between(source, 0, text.size()),
                       "numbers.txt: the file became shorter while it was read; load it again", InvalidArgument);
  std::fclose(file);
}
