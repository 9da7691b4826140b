#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "steppe/core/rng.hpp"

namespace steppe {

// Which tokens travel together. A pure function of its arguments, so every rank knows all packets without a message.
class Deal {
 public:
  Deal() = default;

  // Permutes the tokens by a key of (seed, key_round) and cuts them into about `wanted` packets of at least min_bundle.
  Deal(std::uint64_t seed, std::uint32_t key_round, std::uint32_t n_tokens, std::uint32_t wanted,
       std::uint32_t min_bundle)
      : ids_(n_tokens), first_() {
    std::iota(ids_.begin(), ids_.end(), 0u);
    Stream stream(seed, Purpose::deal, 0, key_round);
    shuffle(std::span(ids_), stream);
    const std::uint32_t n = std::max(1u, std::min(wanted, n_tokens / std::max(1u, min_bundle)));
    for (std::uint64_t p = 0; p <= n; ++p) first_.push_back(static_cast<std::uint32_t>(p * n_tokens / n));
  }

  std::uint32_t n_packets() const noexcept { return static_cast<std::uint32_t>(first_.size()) - 1; }
  // Of the largest packet.
  std::uint32_t most_tokens() const noexcept {
    return n_packets() == 0 ? 0 : static_cast<std::uint32_t>((ids_.size() + n_packets() - 1) / n_packets());
  }
  std::span<const std::uint32_t> packet(std::uint32_t p) const noexcept {
    return std::span(ids_).subspan(first_[p], first_[p + 1] - first_[p]);
  }

 private:
  std::vector<std::uint32_t> ids_;
  std::vector<std::uint32_t> first_{0, 0};
};

}  // namespace steppe
