#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/schedules/rank_state.hpp"
#include "steppe/schedules/visit.hpp"

namespace steppe {

// One row of bits per packet.
class BitTable {
 public:
  BitTable() = default;
  BitTable(std::size_t rows, std::size_t bits) : words_per_row_((bits + 63) / 64), words_(rows * words_per_row_) {}

  void set(std::size_t row, std::size_t bit) {
    words_[row * words_per_row_ + bit / 64] |= std::uint64_t{1} << (bit % 64);
  }
  bool test(std::size_t row, std::size_t bit) const {
    return (words_[row * words_per_row_ + bit / 64] >> (bit % 64)) & 1;
  }
  std::span<const std::uint64_t> row(std::size_t row) const {
    return std::span(words_).subspan(row * words_per_row_, words_per_row_);
  }
  std::span<const std::uint64_t> words() const { return words_; }
  std::span<std::uint64_t> words() { return words_; }

 private:
  std::size_t words_per_row_ = 0;
  std::vector<std::uint64_t> words_;
};

// Who has to meet whom in a round of one pass: lets packets skip shards and ranks without entries, and tells each
// shard how many packets make a round.
struct Occupancy {
  BitTable shards;                      // packet x local shard
  BitTable ranks;                       // packet x rank
  std::vector<std::uint32_t> expected;  // packets a round, by local shard
};

// Collective: one bit per (packet, rank) is gathered.
template <TokenProblem P>
Occupancy survey(const RankState<P>& state, Pass pass) {
  const std::uint32_t n_packets = state.deal.n_packets();
  Occupancy occupancy{BitTable(n_packets, state.n_local()), BitTable(n_packets, state.link.size()),
                      std::vector<std::uint32_t>(state.n_local(), 0)};
  BitTable present(1, n_packets);
  for (std::uint32_t p = 0; p < n_packets; ++p) {
    for (std::uint32_t l = 0; l < state.n_local(); ++l) {
      if (!touches_any(state.problem, state.shards[l], state.deal.packet(p), pass)) continue;
      occupancy.shards.set(p, l);
      present.set(0, p);
      ++occupancy.expected[l];
    }
  }
  Bytes mine;
  WireWriter(mine).put(std::span<const std::uint64_t>(present.words()));
  const auto all = state.link.allgather(std::move(mine));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    WireReader(all[rank]).get(present.words());
    for (std::uint32_t p = 0; p < n_packets; ++p) {
      if (present.test(0, p)) occupancy.ranks.set(p, rank);
    }
  }
  return occupancy;
}

// The ranks in the order that a packet visits them in one round: a start and a stride coprime to the number of ranks,
// keyed by packet and round. Any rank can compute where any packet goes next.
class Tour {
 public:
  Tour(std::uint64_t seed, const PacketHeader& packet, std::uint32_t training_round, std::uint32_t n_ranks)
      : n_ranks_(n_ranks) {
    if (n_ranks == 1) return;
    Stream stream(seed, Purpose::tour, packet.id, training_round + packet.round);
    start_ = stream.below(n_ranks);
    do {
      stride_ = 1 + stream.below(n_ranks - 1);
    } while (std::gcd(stride_, n_ranks) != 1);
  }

  std::uint32_t operator[](std::uint32_t position) const {
    return static_cast<std::uint32_t>((start_ + std::uint64_t{stride_} * position) % n_ranks_);
  }

 private:
  std::uint32_t n_ranks_, start_ = 0, stride_ = 1;
};

}  // namespace steppe
