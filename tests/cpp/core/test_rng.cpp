#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <vector>

#include "steppe/core/partition.hpp"
#include "steppe/core/rng.hpp"

TEST_CASE("philox gives the published known answers") {
  using Block = std::array<std::uint32_t, 4>;
  CHECK(steppe::philox({0, 0, 0, 0}, 0) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(steppe::philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, 0xffffffffffffffff) ==
        Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(steppe::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a stream is a function of its key, and streams of other keys differ") {
  using steppe::Purpose;
  using steppe::Stream;
  const auto first = [](Stream stream) { return stream(); };
  CHECK(first({1, Purpose::deal, 2, 3}) == first({1, Purpose::deal, 2, 3}));
  CHECK(first({1, Purpose::deal, 2, 3}) != first({2, Purpose::deal, 2, 3}));
  CHECK(first({1, Purpose::deal, 2, 3}) != first({1, Purpose::tour, 2, 3}));
  CHECK(first({1, Purpose::deal, 2, 3}) != first({1, Purpose::deal, 3, 3}));
  CHECK(first({1, Purpose::deal, 2, 3}) != first({1, Purpose::deal, 2, 4}));
}

TEST_CASE("moments of uniform, below and normal") {
  steppe::Stream stream(5, steppe::Purpose::data, 0);
  constexpr int kDraws = 200000;
  double uniform = 0, normal = 0, square = 0;
  std::vector<int> counts(7, 0);
  for (int i = 0; i < kDraws; ++i) {
    const double u = stream.uniform();
    REQUIRE((u >= 0 && u < 1));
    uniform += u;
    const double z = stream.normal();
    normal += z;
    square += z * z;
    ++counts[stream.below(7)];
  }
  // Five standard errors.
  CHECK(std::abs(uniform / kDraws - 0.5) < 5 * 0.2887 / std::sqrt(kDraws));
  CHECK(std::abs(normal / kDraws) < 5 / std::sqrt(kDraws));
  CHECK(std::abs(square / kDraws - 1) < 5 * std::sqrt(2.0 / kDraws));
  for (const int count : counts) CHECK(std::abs(count - kDraws / 7.0) < 5 * std::sqrt(kDraws / 7.0));
}

TEST_CASE("a shuffle is a permutation") {
  std::vector<int> values(100);
  std::iota(values.begin(), values.end(), 0);
  steppe::Stream stream(5, steppe::Purpose::deal, 0);
  steppe::shuffle(std::span(values), stream);
  CHECK(!std::is_sorted(values.begin(), values.end()));
  std::sort(values.begin(), values.end());
  for (int i = 0; i < 100; ++i) CHECK(values[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("balanced_ranges covers all rows in order and shares out nonzeros") {
  std::vector<std::int64_t> offsets{0};
  for (int row = 0; row < 1000; ++row) offsets.push_back(offsets.back() + (row < 100 ? 90 : 10));
  const auto bounds = steppe::balanced_ranges(offsets, 3);
  CHECK(bounds.front() == 0);
  CHECK(bounds.back() == 1000);
  for (std::size_t r = 0; r < 3; ++r) {
    const auto nonzeros = static_cast<double>(offsets[bounds[r + 1]] - offsets[bounds[r]]);
    CHECK(nonzeros == doctest::Approx(6000).epsilon(0.05));
  }
  CHECK(steppe::balanced_ranges(std::vector<std::int64_t>{0}, 3) == std::vector<std::size_t>{0, 0, 0, 0});
  const auto few = steppe::balanced_ranges(std::vector<std::int64_t>{0, 5, 9}, 4);
  CHECK(std::is_sorted(few.begin(), few.end()));
  CHECK(few.back() == 2);
}
