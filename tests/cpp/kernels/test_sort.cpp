#include "steppe/kernels/sort.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/kernels/sort_wide.hpp"
#include "steppe/kernels/vector_width.hpp"

using namespace steppe;
using kernels::kSortSlack;

namespace {

template <class T>
T any_finite(Stream& stream) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  for (;;) {
    const auto value = std::bit_cast<T>(static_cast<Bits>(std::uint64_t{stream()} << 32 | stream()));
    if (std::isfinite(value)) return value;
  }
}

template <class T>
struct Input {
  std::string name;
  std::vector<T> values;
};

// What sorts are known to stumble over.
template <class T>
std::vector<Input<T>> inputs(std::size_t n) {
  Stream stream(n, Purpose::data, sizeof(T));
  std::vector<Input<T>> all;
  const auto add = [&](const char* name, auto value) {
    all.push_back({name, std::vector<T>(n)});
    for (std::size_t i = 0; i < n; ++i) all.back().values[i] = static_cast<T>(value(i));
  };
  add("normal", [&](std::size_t) { return stream.normal(); });
  add("any bits, subnormals among them", [&](std::size_t) { return any_finite<T>(stream); });
  add("sorted", [](std::size_t i) { return double(i); });
  add("reversed", [](std::size_t i) { return -double(i); });
  add("constant", [](std::size_t) { return 1.5; });
  add("lowest", [](std::size_t) { return std::numeric_limits<T>::lowest(); });
  add("three distinct", [&](std::size_t) { return double(stream.below(3)) - 1; });
  add("zeros of both signs", [&](std::size_t) { return stream.below(2) ? 0.0 : -0.0; });
  add("organ pipe", [&](std::size_t i) { return double(std::min(i, n - i)); });
  add("sawtooth", [](std::size_t i) { return double(i % 17); });
  add("one outlier", [&](std::size_t i) { return i == n / 2 ? 1e30 : 1.0; });
  add("near one", [&](std::size_t) { return 1 + 1e-15 * stream.below(50); });
  add("exponential spacing", [&](std::size_t) { return std::pow(0.5, 100 * stream.uniform()); });
  return all;
}

std::vector<std::size_t> sizes() {
  std::vector<std::size_t> all(301);
  std::iota(all.begin(), all.end(), std::size_t{0});
  all.insert(all.end(), {511, 512, 513, 1023, 1025, 2047, 4095, 4096, 4097, 16000, 70001});
  return all;
}

template <class T>
bool same_bits(const T* a, const T* b, std::size_t n) {
  return n == 0 || std::memcmp(a, b, n * sizeof(T)) == 0;  // of no values there may be no address
}

// By value, and -0.0 before 0.0.
template <class T>
bool before(T a, T b) {
  return a < b || (a == b && std::signbit(a) && !std::signbit(b));
}

}  // namespace

TEST_CASE_TEMPLATE("sort_values gives what std::sort gives, bit for bit", T, float, double) {
  for (const std::size_t n : sizes()) {
    for (const Input<T>& input : inputs<T>(n)) {
      std::vector<T> values = input.values, expected = input.values;
      std::vector<kernels::SortKey<T>> keys(n + kSortSlack), scratch(n + kSortSlack);
      std::sort(expected.begin(), expected.end(), before<T>);
      kernels::sort_values(values.data(), n, keys.data(), scratch.data());
      CHECK_MESSAGE(same_bits(values.data(), expected.data(), n), input.name << ", n = " << n);
    }
  }
}

TEST_CASE_TEMPLATE("sort_order is the stable order", T, float, double) {
  for (const std::size_t n : sizes()) {
    for (const Input<T>& input : inputs<T>(n)) {
      std::vector<std::int64_t> keys(n + kSortSlack), scratch(n + kSortSlack);
      std::vector<std::uint32_t> order(n), expected(n);
      std::iota(expected.begin(), expected.end(), 0u);
      std::stable_sort(expected.begin(), expected.end(),
                       [&](std::uint32_t a, std::uint32_t b) { return input.values[a] < input.values[b]; });
      kernels::sort_order(input.values.data(), n, keys.data(), scratch.data(), order.data());
      CHECK_MESSAGE(order == expected, input.name << ", n = " << n);
    }
  }
}

TEST_CASE_TEMPLATE("digits and vectors sort alike and touch nothing but their slack", K, std::int32_t, std::int64_t) {
  for (const std::size_t n : sizes()) {
    Stream stream(3, Purpose::data, n);
    std::vector<K> keys(n + kSortSlack + 4, 7), scratch(n + kSortSlack + 4, 7);
    const auto special = {std::numeric_limits<K>::min(), std::numeric_limits<K>::max(), K{0}, K{-1}};
    for (std::size_t i = 0; i < n; ++i) {
      keys[i] = stream.below(8) == 0 ? special.begin()[stream.below(4)]
                                     : static_cast<K>(std::uint64_t{stream()} << 32 | stream());
    }
    std::vector<K> expected(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(n)), digits = keys;
    std::sort(expected.begin(), expected.end());
    kernels::sort_digits(digits.data(), scratch.data(), n);
    CHECK(std::equal(expected.begin(), expected.end(), digits.begin()));
    if (kernels::vector_bytes() < 64) continue;
    kernels::sort_wide(keys.data(), scratch.data(), n);
    CHECK(std::equal(expected.begin(), expected.end(), keys.begin()));
    for (std::size_t guard = n + kSortSlack; guard < keys.size(); ++guard) {
      CHECK(keys[guard] == 7);
      CHECK(scratch[guard] == 7);
    }
  }
}

// Inputs made against the pivots use up the partitions that are allowed; here fewer are, which any input uses up: no
// range of more than a block is then partitioned beyond that depth, so digits sort it, in either array.
TEST_CASE_TEMPLATE("digits take over where partitions are used up", K, std::int32_t, std::int64_t) {
  if (kernels::vector_bytes() < 64) return;
  for (const std::size_t n : {4097, 70001}) {
    Stream stream(5, Purpose::data, n);
    std::vector<K> input(n);
    for (K& key : input) key = static_cast<K>(std::uint64_t{stream()} << 32 | stream());
    std::vector<K> expected = input;
    std::sort(expected.begin(), expected.end());
    for (const unsigned depth : {0u, 1u, 2u, 3u, 5u}) {
      std::vector<K> keys = input, scratch(n + kSortSlack);
      keys.resize(n + kSortSlack);
      kernels::sort_wide(keys.data(), scratch.data(), n, depth);
      CHECK(std::equal(expected.begin(), expected.end(), keys.begin()));
    }
  }
}

// Pivots are taken at fixed places. Whoever knows them can make partitions useless.
TEST_CASE("an input made against the pivots is sorted all the same") {
  constexpr std::size_t n = 200000;
  std::vector<std::int32_t> keys(n + kSortSlack, 1), scratch(n + kSortSlack);
  for (std::size_t i = 0; i < n; ++i) keys[i] = static_cast<std::int32_t>(i % 782 == 391 ? -int(i) : int(i));
  std::vector<std::int32_t> expected(keys.begin(), keys.begin() + n);
  std::sort(expected.begin(), expected.end());
  if (kernels::vector_bytes() < 64) return;
  kernels::sort_wide(keys.data(), scratch.data(), n);
  CHECK(std::equal(expected.begin(), expected.end(), keys.begin()));
}
