#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "steppe/comm/link.hpp"

namespace steppe {

// A short vector that every visit reads and adds to (topic totals, an intercept). Each shard works on a copy of its
// own; what it added since its snapshot reaches the others through the delta packet and at every drain.
// Invariant: agreed (or the delta packet) + sum over shards of (working - snapshot) is the true value.
class Globals {
 public:
  Globals() = default;
  Globals(std::vector<double> start, std::uint32_t n_shards);

  std::size_t size() const noexcept { return agreed_.size(); }
  std::span<double> working(std::uint32_t shard) noexcept { return copies_[shard].working; }
  const std::vector<double>& agreed() const noexcept { return agreed_; }

  void restart(std::span<const double> values);
  // The shard gives the travelling sum what it has added, and takes over what the others have.
  void merge(std::uint32_t shard, std::span<double> travelling);
  // Collective: base plus everybody's additions in shard order; all restart from it. `base` is held by one rank at
  // most (the delta packet's sum); without one it is the last agreed value. Returns how many
  // ranks held one.
  std::uint32_t sum(Link& link, const std::optional<std::vector<double>>& base);

 private:
  struct Copy {
    std::vector<double> working, snapshot;
  };
  std::vector<double> agreed_;
  std::vector<Copy> copies_;
};

}  // namespace steppe
