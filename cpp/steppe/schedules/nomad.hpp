#pragma once

#include <optional>

#include "steppe/schedules/courier.hpp"
#include "steppe/schedules/nomad_worker.hpp"

namespace steppe {

// NOMAD (Yun et al., VLDB 2014): packets wander from shard to shard through lock-free inboxes, without barriers inside
// a run. Every execution is serializable: record it and replay it on one thread, and the bits agree.
//
// No deadlock: packets of the lowest open round never wait. Termination is local: a shard is done after
// expected x rounds visits, a rank when its shards are. A packet in flight still has a visit to make, so some shard is
// not done: when all ranks are, nothing flies.
template <TokenProblem P>
class NomadRun {
  using PacketType = typename Traffic<P>::PacketType;

 public:
  NomadRun(RankState<P>& state, const RunSpec& spec, const Occupancy& occupancy, Control& control)
      : state_(state), spec_(spec), traffic_(state, spec, occupancy), courier_(state, traffic_, control) {}

  RunOutcome operator()() {
    depart();
    const Team::Job job = [this](std::uint32_t shard) { NomadWorker<P>(state_, spec_, traffic_, shard)(); };
    state_.team.start(job);
    try {
      courier_.serve();
    } catch (...) {
      traffic_.halt();
      state_.team.wait();
      throw;
    }
    state_.team.wait();
    RunOutcome outcome = collect_outcome();
    courier_.finish(outcome.status);
    if (outcome.status == RunStatus::ok && courier_.stopped_here()) outcome.status = RunStatus::stopped;
    park_all();
    sum_globals();
    return outcome;
  }

 private:
  void depart() {
    std::vector<PacketType*> resting;
    for (PacketType* packet : state_.parked) {
      if (!traffic_.depart(packet)) resting.push_back(packet);
    }
    state_.parked = std::move(resting);
    if (state_.globals.size() > 0 && state_.link.rank() == 0) traffic_.arrive(make_delta());
  }

  PacketType* make_delta() {
    PacketType* packet = state_.pool.acquire();
    packet->header = {};
    packet->header.kind = PacketKind::delta;
    packet->header.id = state_.deal.n_packets();
    packet->ids.clear();
    packet->rows.clear();
    packet->globals = state_.globals.agreed();
    return packet;
  }

  RunOutcome collect_outcome() {
    RunOutcome outcome;
    for (auto& desk : traffic_.desks) {
      outcome.shards.push_back(desk.stats);
      if (desk.error && !outcome.error) outcome.error = desk.error;
    }
    if (outcome.error) {
      outcome.status = RunStatus::failed;
    } else if (courier_.stopped_here()) {
      outcome.status = RunStatus::stopped;
    }
    return outcome;
  }

  // Wherever a halt has left them. After a normal end inboxes and side queues are empty.
  void park_all() {
    const bool halted = traffic_.halt_flag.requested();
    for (auto& desk : traffic_.desks) {
      for (PacketType* packet : desk.parked) park(packet);
      for (PacketType* packet : desk.early) park(packet);
      invariant(halted || desk.early.empty(), "a packet was left waiting for its round");
      if (desk.delta != nullptr) park(desk.delta);
      while (PacketType* packet = desk.inbox.try_pop()) {
        invariant(halted, "a packet was left in an inbox");
        if (packet->header.kind != PacketKind::wake) park(packet);
      }
    }
    for (PacketType* packet : courier_.parked()) park(packet);
  }

  void park(PacketType* packet) {
    if (packet->header.kind == PacketKind::delta) {
      invariant(!delta_, "the delta packet exists twice");
      delta_ = packet->globals;
      state_.pool.release(packet);
    } else {
      invariant(traffic_.halt_flag.requested() || packet->todo.empty(), "a packet was parked before its shards met it");
      state_.parked.push_back(packet);
    }
  }

  void sum_globals() {
    if (state_.globals.size() == 0) return;
    for (std::uint32_t l = 0; l < state_.n_local(); ++l) state_.note(l, EventKind::sum_globals);
    invariant(state_.globals.sum(state_.link, delta_) == 1, "the delta packet was lost, or is on two ranks");
  }

  RankState<P>& state_;
  RunSpec spec_;
  Traffic<P> traffic_;
  Courier<P> courier_;
  std::optional<std::vector<double>> delta_;  // its sum, on the rank where it was parked
};

}  // namespace steppe
