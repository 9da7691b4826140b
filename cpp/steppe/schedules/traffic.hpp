#pragma once

#include <optional>
#include <vector>

#include "steppe/runtime/inbox.hpp"
#include "steppe/schedules/occupancy.hpp"

namespace steppe {

// One shard's place in a nomad run. Only the inbox is shared; all else belongs to the shard's worker.
template <class Row>
struct alignas(kCacheLine) NomadDesk {
  Inbox<Packet<Row>> inbox;
  Packet<Row> wake;                 // pushed to end a sleep
  std::vector<Packet<Row>*> early;  // of rounds this shard may not enter yet
  std::vector<Packet<Row>*> parked;
  std::vector<std::uint32_t> met;  // packets met, by round
  std::uint32_t open_round = 0;    // the first that is not closed
  Packet<Row>* delta = nullptr;    // while it stays here
  std::uint32_t delta_meetings = 0;
  std::uint32_t visits_since_delta = 0;
  VisitStats stats;
  std::exception_ptr error;
};

// Where packets go: two-level routing, from shard to shard of a rank by queue length, from rank to rank by the packet's
// tour. Workers and the calling thread both route; nothing here waits.
template <TokenProblem P>
class Traffic {
 public:
  using PacketType = Packet<typename P::Row>;
  using Desk = NomadDesk<typename P::Row>;

  Traffic(const RankState<P>& state, const RunSpec& spec, const Occupancy& occupancy)
      : desks(state.n_local()), state_(state), spec_(spec), occupancy_(occupancy) {
    for (Desk& desk : desks) {
      desk.wake.header.kind = PacketKind::wake;
      desk.met.assign(spec.rounds, 0);
    }
  }

  // A parked packet begins its first round; false if no shard anywhere touches it.
  bool depart(PacketType* packet) {
    packet->header.round = packet->header.sequence = 0;
    packet->header.tour_position = 0;
    return go_on_tour(packet);
  }

  // A packet arrives on this rank.
  void arrive(PacketType* packet) {
    if (packet->header.kind == PacketKind::delta) {
      desks[delta_shard(packet->header) - state_.first_shard()].inbox.push(packet);
      return;
    }
    packet->todo.assign(occupancy_.shards.row(packet->header.id));
    to_idlest_shard(packet);
  }

  // After a visit: the next shard here, else the next rank, else the next round; false when the packet is to be parked.
  bool move_on(PacketType* packet, std::uint32_t visited) {
    packet->todo.erase(visited);
    if (!packet->todo.empty()) {
      to_idlest_shard(packet);
      return true;
    }
    ++packet->header.tour_position;
    return go_on_tour(packet);
  }

  bool move_delta_on(PacketType* packet) {
    if (++packet->header.tour_position == state_.n_shards() * delta_meetings()) return false;
    if (destination(packet->header) == state_.link.rank()) {
      arrive(packet);
    } else {
      outbox.push(packet);
    }
    return true;
  }

  // Meetings of each shard with the delta packet in this run.
  std::uint32_t delta_meetings() const { return state_.globals.size() > 0 ? state_.options.laps * spec_.rounds : 0; }
  std::uint32_t expected(std::uint32_t shard) const { return occupancy_.expected[shard]; }

  // The rank that a packet in the outbox is for.
  std::uint32_t destination(const PacketHeader& header) const {
    if (header.kind == PacketKind::delta) return state_.rank_of_shard(delta_shard(header));
    return tour(header)[header.tour_position];
  }

  void halt() {
    if (!halt_flag.request()) return;
    for (Desk& desk : desks) desk.inbox.push(&desk.wake);
  }

  std::vector<Desk> desks;
  Inbox<PacketType> outbox;  // the calling thread takes from it
  HaltFlag halt_flag;

 private:
  std::uint32_t delta_shard(const PacketHeader& header) const { return header.tour_position % state_.n_shards(); }

  Tour tour(const PacketHeader& header) const {
    return {state_.options.seed, header, state_.training_round, state_.link.size()};
  }

  void to_idlest_shard(PacketType* packet) {
    std::uint32_t best = state_.n_local();
    for (std::uint32_t l = 0; l < state_.n_local(); ++l) {
      if (!packet->todo.contains(l)) continue;
      if (best == state_.n_local() || desks[l].inbox.load() < desks[best].inbox.load()) best = l;
    }
    desks[best].inbox.push(packet);
  }

  // From the packet's tour position on: the first rank it touches, in this round or in a later one.
  bool go_on_tour(PacketType* packet) {
    PacketHeader& header = packet->header;
    for (; header.round < spec_.rounds; ++header.round, header.tour_position = 0) {
      const Tour ranks = tour(header);
      for (; header.tour_position < state_.link.size(); ++header.tour_position) {
        const std::uint32_t rank = ranks[header.tour_position];
        if (!occupancy_.ranks.test(header.id, rank)) continue;
        if (rank == state_.link.rank()) {
          arrive(packet);
        } else {
          outbox.push(packet);
        }
        return true;
      }
    }
    return false;
  }

  const RankState<P>& state_;
  RunSpec spec_;
  const Occupancy& occupancy_;
};

}  // namespace steppe
