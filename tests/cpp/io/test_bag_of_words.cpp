#include "steppe/io/bag_of_words.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "steppe/core/errors.hpp"

using namespace steppe;
using namespace steppe::io;

namespace {

BagOfWordsData read(const std::string& text, BagOfWordsOptions options = {}, std::uint32_t n_threads = 1) {
  const MemorySource source("text", text);
  Team team(n_threads);
  Control control;
  return read_bag_of_words(source, options, team, control);
}

BagOfWordsOptions uci(std::uint64_t header_bytes = 0) {
  BagOfWordsOptions options;
  options.format = BagFormat::uci;
  options.header_bytes = header_bytes;
  options.first = 1;
  return options;
}

template <class V>
std::vector<V> list(const Column<V>& column) {
  return {column.begin(), column.end()};
}

// Documents of up to five words; every third has none, and no line in uci's format.
std::string random_text(std::uint64_t seed, int n_documents, BagFormat format) {
  const auto next = [&seed](std::uint64_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
  };
  std::string text;
  for (int document = 1; document <= n_documents; ++document) {
    std::string pairs;
    const std::uint64_t size = document % 3 == 0 ? 0 : next(6);
    for (std::uint64_t i = 0, word = 40; i < size; ++i) {
      word -= 1 + next(6);
      const std::string count = std::to_string(next(1000));
      if (format == BagFormat::uci) {
        text += std::to_string(document) + " " + std::to_string(word) + "\t" + count + (next(9) == 0 ? "\n\n" : "\n");
      } else {
        pairs += " " + std::to_string(word) + ":" + count;
      }
    }
    if (format == BagFormat::lda_c) text += std::to_string(size) + pairs + (next(9) == 0 ? "\n\n" : "\n");
  }
  return text;
}

void check_equal(const BagOfWordsData& left, const BagOfWordsData& right) {
  CHECK(list(left.row_offsets) == list(right.row_offsets));
  CHECK(list(left.words) == list(right.words));
  CHECK(list(left.counts) == list(right.counts));
  CHECK(left.n_rows == right.n_rows);
  CHECK(left.n_lines == right.n_lines);
  CHECK(left.n_pairs == right.n_pairs);
  CHECK(left.first_document == right.first_document);
  CHECK(left.highest_word == right.highest_word);
}

}  // namespace

TEST_CASE("the LDA-C format") {
  const auto data = read("2 7:1 3:25\r\n\n 0\n3\t1:0 0:2 4:1 ");
  CHECK(list(data.row_offsets) == std::vector<std::int64_t>{0, 2, 2, 4});
  CHECK(list(data.words) == std::vector<std::int32_t>{3, 7, 0, 4});
  CHECK(list(data.counts) == std::vector<std::int32_t>{25, 1, 2, 1});
  CHECK(data.n_rows == 3);
  CHECK(data.n_lines == 4);
  CHECK(data.n_pairs == 5);
  CHECK(data.highest_word == 7);
}

TEST_CASE("the UCI format") {
  const auto data = read("9\n9\n4\n3 9 2\n3 1 1\n\n6 2 0\n7 2 5", uci(6));
  CHECK(list(data.row_offsets) == std::vector<std::int64_t>{0, 2, 2, 2, 2, 3});  // documents 3 to 7
  CHECK(list(data.words) == std::vector<std::int32_t>{0, 8, 1});
  CHECK(list(data.counts) == std::vector<std::int32_t>{1, 2, 5});
  CHECK(data.first_document == 2);
  CHECK(data.n_pairs == 4);
  CHECK(data.highest_word == 8);
}

TEST_CASE("no line, no data") {
  for (const auto& options : {BagOfWordsOptions{}, uci()}) {
    CHECK(list(read("", options).row_offsets) == std::vector<std::int64_t>{0});
    CHECK(list(read("\n \n", options).row_offsets) == std::vector<std::int64_t>{0});
    CHECK(read("\n", options).highest_word == -1);
  }
}

TEST_CASE("pieces and threads change nothing") {
  for (BagOfWordsOptions options : {BagOfWordsOptions{}, uci()}) {
    const std::string text = random_text(1, 300, options.format);
    const auto whole = read(text, options);
    CHECK(whole.n_rows > 290);
    for (const std::uint64_t bytes : {1, 64, 1000}) {
      for (const std::uint32_t threads : {1, 2, 4}) {
        options.piece_bytes = bytes;
        check_equal(read(text, options, threads), whole);
      }
    }
    options.keep = false;
    const auto counted = read(text, options, 2);
    CHECK(counted.n_pairs == whole.n_pairs);
    CHECK(counted.n_rows == whole.n_rows);
    CHECK(counted.words.empty());
  }
}

TEST_CASE("adjacent ranges share no document and lose none") {
  for (const BagOfWordsOptions& options : {BagOfWordsOptions{}, uci()}) {
    const std::string text = random_text(2, 30, options.format);
    const auto whole = read(text, options);
    for (std::uint64_t cut = 1; cut < text.size(); ++cut) {
      BagOfWordsOptions front = options, back = options;
      front.length = cut;
      back.offset = cut;
      const auto first = read(text, front), second = read(text, back);
      auto counts = list(first.counts);
      counts.insert(counts.end(), second.counts.begin(), second.counts.end());
      CHECK(counts == list(whole.counts));
      if (options.format == BagFormat::lda_c) CHECK(first.n_rows + second.n_rows == whole.n_rows);
      if (options.format == BagFormat::uci && first.n_rows > 0 && second.n_rows > 0) {
        CHECK(first.first_document + static_cast<std::int64_t>(first.n_rows) <= second.first_document);
      }
    }
  }
}

TEST_CASE("where the last document starts") {
  CHECK(last_document_start("") == 0);
  CHECK(last_document_start("1 2 3\n") == 0);
  CHECK(last_document_start("1 2 3\n1 3 3\n") == 0);
  CHECK(last_document_start("1 2 3\n2 3 3\n") == 6);
  CHECK(last_document_start("1 2 3\n 2 3 3\n2 4 1") == 6);
  CHECK(last_document_start("1 2 3\n\n2 3 3\n\n\n") == 6);
  CHECK(last_document_start("\n\n") == 0);
  CHECK(last_document_start("11 2 3\n1 3 3\n") == 7);
}

TEST_CASE("the first malformed line is named") {
  const std::string good = random_text(3, 50, BagFormat::lda_c);
  const auto lines = static_cast<std::uint64_t>(std::count(good.begin(), good.end(), '\n'));
  const std::string text = good + "1 2:x\n" + random_text(4, 50, BagFormat::lda_c) + "worse\n";
  const std::string message = "text, line " + std::to_string(lines + 8) +
                              ": expected word:count, whole numbers from 0 to 2147483647, got '2:x'";
  BagOfWordsOptions options;
  options.lines_before = 7;
  options.piece_bytes = 100;
  for (const std::uint32_t threads : {1, 2, 4}) {
    CHECK_THROWS_WITH_AS(read(text, options, threads), message.c_str(), InvalidArgument);
  }
}

TEST_CASE("documents must ascend, within a piece and between pieces") {
  BagOfWordsOptions options = uci();
  CHECK_THROWS_WITH_AS(read("2 1 1\n1 1 1\n", options),
                       "text, line 2: document 1 comes after a later one; sort the lines by document", InvalidArgument);
  options.piece_bytes = 1;
  CHECK_THROWS_WITH_AS(read("2 1 1\n1 1 1\n", options),
                       "text, line 2: document 1 comes after a later one; sort the lines by document", InvalidArgument);
}

TEST_CASE("a huge document number asks for no memory where documents are counted") {
  BagOfWordsOptions options = uci();
  options.n_documents = 10;
  CHECK_THROWS_AS(read("1 1 1\n2000000000 1 1\n", options), InvalidArgument);
  CHECK_THROWS_AS(read("1 1 1\n99999999999999999999 1 1\n", options), InvalidArgument);
}
