#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>

#include "steppe/core/macros.hpp"

namespace steppe {

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): 128 random bits as a pure
// function of a 128-bit counter and a 64-bit key. Nothing is stored, so what an entity draws does not depend on
// threads, ranks or device.
STEPPE_HD inline std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t key) {
  auto key0 = static_cast<std::uint32_t>(key);
  auto key1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53u} * counter[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<std::uint32_t>(product0)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// What a stream of random numbers is for: two purposes never share numbers, whatever the entity and step.
enum class Purpose : std::uint32_t { deal, visit_order, tour, init_row, init_token, sample, data };

// The stream of (seed, purpose, entity, step). A UniformRandomBitGenerator.
class Stream {
 public:
  using result_type = std::uint32_t;

  STEPPE_HD Stream(std::uint64_t seed, Purpose purpose, std::uint64_t entity, std::uint32_t step = 0)
      : key_(seed ^ (std::uint64_t{0x9E3779B97F4A7C15u} * (static_cast<std::uint64_t>(purpose) + 1))),
        counter_{0, static_cast<std::uint32_t>(entity), static_cast<std::uint32_t>(entity >> 32), step} {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }

  STEPPE_HD result_type operator()() {
    if (used_ == 4) {
      block_ = philox(counter_, key_);
      ++counter_[0];
      used_ = 0;
    }
    return block_[used_++];
  }

  // Uniform on [0, 1), 53 bits.
  STEPPE_HD double uniform() {
    const std::uint64_t high = (*this)() >> 5;
    const std::uint64_t low = (*this)() >> 6;
    return static_cast<double>((high << 26) | low) * 0x1p-53;
  }

  // Uniform on 0..bound-1 (bound > 0): the high half of 64 random bits times bound; the bias is at most bound / 2^64.
  STEPPE_HD std::uint32_t below(std::uint32_t bound) {
    const std::uint64_t high = std::uint64_t{(*this)()} * bound;
    const std::uint64_t low = std::uint64_t{(*this)()} * bound;
    return static_cast<std::uint32_t>((high + (low >> 32)) >> 32);
  }

  // Standard normal, by Box and Muller; half of each pair is thrown away to stay stateless.
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

 private:
  std::uint64_t key_;
  std::array<std::uint32_t, 4> counter_;
  std::array<std::uint32_t, 4> block_{};
  unsigned used_ = 4;
};

// Fisher and Yates, in the stream's order.
template <class T>
void shuffle(std::span<T> values, Stream& stream) {
  for (std::size_t left = values.size(); left > 1; --left) {
    std::swap(values[left - 1], values[stream.below(static_cast<std::uint32_t>(left))]);
  }
}

}  // namespace steppe
