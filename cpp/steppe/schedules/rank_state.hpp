#pragma once

#include <algorithm>
#include <exception>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/runtime/team.hpp"
#include "steppe/schedules/concepts.hpp"
#include "steppe/schedules/frame.hpp"
#include "steppe/schedules/globals.hpp"
#include "steppe/schedules/packet.hpp"
#include "steppe/schedules/record.hpp"

namespace steppe {

struct EngineOptions {
  Schedule schedule = Schedule::serial;
  std::uint64_t seed = 0;
  std::uint32_t packet_tokens = 1;  // nomad: tokens a packet should hold
  std::uint32_t laps = 2;           // nomad: how often the delta packet meets each shard in a round
  bool record = false;
};

struct RunSpec {
  Pass pass = 0;
  std::uint32_t rounds = 1;
  bool training = false;  // only training runs advance the training round
};

// What a schedule hands back after a drain: all packets of this rank are parked.
struct RunOutcome {
  std::vector<VisitStats> shards;  // by local shard
  RunStatus status = RunStatus::ok;
  std::exception_ptr error;
};

// What one rank holds between runs, and what the schedules work on.
template <TokenProblem P>
struct RankState {
  using Row = typename P::Row;
  using Shard = typename P::Shard;

  P& problem;
  std::vector<Shard>& shards;
  Link& link;
  Team& team;
  EngineOptions options;

  std::vector<std::uint32_t> first_shard_of;  // by rank, and one past the last
  std::uint32_t training_round = 0;
  std::uint32_t run = 0;
  Deal deal;
  std::uint32_t deal_round = 0;  // the deal's key
  PacketPool<Row> pool;
  std::vector<Packet<Row>*> parked;
  std::uint32_t rotation = 0;  // bsp: packet p sits on shard p - rotation
  Globals globals;
  Record record;
  std::vector<std::vector<std::uint32_t>> visit_order;  // scratch, by local shard

  std::uint32_t first_shard() const { return first_shard_of[link.rank()]; }
  std::uint32_t n_shards() const { return first_shard_of.back(); }
  std::uint32_t n_local() const { return static_cast<std::uint32_t>(shards.size()); }
  std::uint32_t rank_of_shard(std::uint32_t shard) const {
    const auto above = std::upper_bound(first_shard_of.begin(), first_shard_of.end(), shard);
    return static_cast<std::uint32_t>(above - first_shard_of.begin()) - 1;
  }

  std::uint32_t seat_of_packet(std::uint32_t packet) const { return (packet + n_shards() - rotation) % n_shards(); }

  VisitContext context(std::uint32_t local, const RunSpec& spec, std::uint32_t round_of_run) {
    return {options.seed,
            training_round + round_of_run,
            first_shard() + local,
            n_shards(),
            spec.pass,
            globals.working(local),
            {}};
  }

  void note(std::uint32_t local, EventKind kind, const PacketHeader& header) {
    if (options.record) record.shards[local].push_back({run, header.id, header.sequence, header.round, kind});
  }
  void note(std::uint32_t local, EventKind kind, std::uint32_t round_of_run = 0) {
    if (options.record) record.shards[local].push_back({run, 0, 0, round_of_run, kind});
  }
};

}  // namespace steppe
