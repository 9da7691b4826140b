#include "steppe/io/numbers.hpp"

#include <doctest/doctest.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

using namespace steppe::io;

namespace {

const std::string kEnd(16, '\n');

// strtod rounds correctly in glibc, in the C locale that tests run in.
void check_real(const std::string& text) {
  CAPTURE(text);
  const std::string line = text + kEnd;
  double value = 0;
  const char* const end = parse_real(line.c_str(), value);
  REQUIRE(end == line.c_str() + text.size());
  CHECK(std::bit_cast<std::uint64_t>(value) == std::bit_cast<std::uint64_t>(std::strtod(text.c_str(), nullptr)));
}

}  // namespace

TEST_CASE("real numbers round as strtod rounds them") {
  for (const char* text : {"0",
                           "-0",
                           "1",
                           "+1.5",
                           "-2.",
                           ".5",
                           "1e22",
                           "1e23",
                           "9007199254740993",
                           "4.9e-324",
                           "2.4e-324",
                           "2.5e-324",
                           "1.7976931348623157e308",
                           "1e-5",
                           "123456789012345678901234567890",
                           "0.00000000000000000000000000001",
                           "9007199254740992.99999999999999999999",
                           "3E+4",
                           "inf",
                           "-Infinity",
                           "8.5e-320",
                           "1e400",
                           "-1e400",
                           "1e-400",
                           "0e999999999999999999999"}) {
    check_real(text);
  }
}

TEST_CASE("random numbers of every length round as strtod rounds them") {
  std::uint64_t state = 1;
  const auto next = [&state] { return state = state * 6364136223846793005u + 1442695040888963407u; };
  char text[64];
  for (int i = 0; i < 20000; ++i) {
    const double value = std::bit_cast<double>(next());
    if (value != value) continue;
    std::snprintf(text, sizeof text, "%.*g", static_cast<int>(next() >> 32) % 20 + 1, value);
    check_real(text);
    std::snprintf(text, sizeof text, "%.*f", static_cast<int>((next() >> 32) % 20),
                  static_cast<double>(next() >> 40) / 977);
    check_real(text);
  }
}

TEST_CASE("a number ends where its grammar ends") {
  const auto rest = [](std::string text) {
    text += kEnd;
    double value;
    const char* const end = parse_real(text.c_str(), value);
    if (end == nullptr) return std::string("none");
    const std::string_view left(end, text.c_str() + text.size() - kEnd.size());
    return std::string(left);
  };
  CHECK(rest("1:2") == ":2");
  CHECK(rest("1e") == "e");
  CHECK(rest("1e+x") == "e+x");
  CHECK(rest("1.2.3") == ".3");
  CHECK(rest("12345678123456781234567812345678z") == "z");
  for (const char* text : {"", "-", ".", "+.", "e5", "x", "--1", "na", "in"}) CHECK(rest(text) == "none");
}

TEST_CASE("whole numbers") {
  const auto natural = [](std::string text) -> std::int64_t {
    text += kEnd;
    std::uint64_t value;
    return parse_natural(text.c_str(), value) == nullptr ? -1 : static_cast<std::int64_t>(value);
  };
  CHECK(natural("0") == 0);
  CHECK(natural("00000000000000000000000000012") == 12);
  for (std::int64_t value = 1; value > 0 && value < INT64_MAX / 10; value = value * 10 + 7) {
    CHECK(natural(std::to_string(value)) == value);
  }
  CHECK(natural("9223372036854775807") == INT64_MAX);
  CHECK(natural("9223372036854775808") == -1);
  CHECK(natural("99999999999999999999999") == -1);
  CHECK(natural("-1") == -1);
  std::int64_t value = 0;
  CHECK(*parse_integer("-17\n\n\n\n\n\n\n\n", value) == '\n');
  CHECK(value == -17);
}
