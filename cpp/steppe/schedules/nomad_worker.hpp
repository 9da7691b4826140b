#pragma once

#include "steppe/schedules/traffic.hpp"

namespace steppe {

// What one worker does in a nomad run: pop, visit, pass on, until its shard has met everything it has to meet.
template <TokenProblem P>
class NomadWorker {
  using PacketType = typename Traffic<P>::PacketType;

 public:
  NomadWorker(RankState<P>& state, const RunSpec& spec, Traffic<P>& traffic, std::uint32_t shard)
      : state_(state), spec_(spec), traffic_(traffic), shard_(shard), desk_(traffic.desks[shard]) {}

  void operator()() {
    try {
      close_full_rounds();
      while (!done() && !traffic_.halt_flag.requested()) take(next_packet());
      if (desk_.delta != nullptr) pass_delta_on();
    } catch (...) {
      desk_.error = std::current_exception();
      traffic_.halt();
    }
  }

 private:
  bool done() const { return desk_.open_round == spec_.rounds && desk_.delta_meetings == traffic_.delta_meetings(); }

  // The delta packet stays until there is nothing else to do, but nobody sleeps on it.
  PacketType* next_packet() {
    PacketType* packet = desk_.inbox.try_pop();
    if (packet == nullptr && desk_.delta != nullptr) pass_delta_on();
    return packet != nullptr ? packet : desk_.inbox.pop();
  }

  void take(PacketType* packet) {
    switch (packet->header.kind) {
      case PacketKind::wake:
        return;
      case PacketKind::delta:
        desk_.delta = packet;
        ++desk_.delta_meetings;
        desk_.visits_since_delta = 0;
        return;
      case PacketKind::tokens:
        if (packet->header.round - desk_.open_round > P::max_skew) {
          desk_.early.push_back(packet);
        } else {
          meet(packet);
        }
    }
  }

  void meet(PacketType* packet) {
    const std::uint32_t round = packet->header.round;
    visit(packet);
    if (traffic_.halt_flag.requested()) {
      // The visit may have been cut short between two tokens: the packet's round is not whole.
      desk_.parked.push_back(packet);
      return;
    }
    ++desk_.met[round];
    if (!traffic_.move_on(packet, shard_)) desk_.parked.push_back(packet);
    if (desk_.delta != nullptr && ++desk_.visits_since_delta * state_.options.laps >= traffic_.expected(shard_)) {
      pass_delta_on();
    }
    close_full_rounds();
  }

  void visit(PacketType* packet) {
    state_.note(shard_, EventKind::visit, packet->header);
    ++packet->header.sequence;
    try {
      desk_.stats += visit_packet(state_.problem, state_.shards[shard_], *packet,
                                  state_.context(shard_, spec_, packet->header.round), state_.visit_order[shard_],
                                  traffic_.halt_flag);
    } catch (...) {
      desk_.parked.push_back(packet);  // its values may be half updated, but no token is lost
      throw;
    }
  }

  void close_full_rounds() {
    while (desk_.open_round < spec_.rounds && desk_.met[desk_.open_round] == traffic_.expected(shard_)) {
      state_.note(shard_, EventKind::end_round, desk_.open_round);
      state_.problem.end_round(state_.shards[shard_], state_.context(shard_, spec_, desk_.open_round));
      ++desk_.open_round;
      release_early_packets();
    }
  }

  // They are popped again, in the order they came.
  void release_early_packets() {
    for (PacketType* packet : desk_.early) desk_.inbox.push(packet);
    desk_.early.clear();
  }

  void pass_delta_on() {
    PacketType* packet = std::exchange(desk_.delta, nullptr);
    state_.note(shard_, EventKind::delta, packet->header);
    ++packet->header.sequence;
    state_.globals.merge(shard_, packet->globals);
    if (!traffic_.move_delta_on(packet)) desk_.parked.push_back(packet);
  }

  RankState<P>& state_;
  RunSpec spec_;
  Traffic<P>& traffic_;
  std::uint32_t shard_;
  typename Traffic<P>::Desk& desk_;
};

}  // namespace steppe
