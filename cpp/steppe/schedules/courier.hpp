#pragma once

#include <chrono>
#include <vector>

#include "steppe/schedules/traffic.hpp"
#include "steppe/schedules/wait.hpp"

namespace steppe {

// What the calling thread does in a nomad run: carries packets between ranks, polls, and ends the run. Normal end,
// error and stop take the same way out: the workers leave, the outbox is flushed, `end` goes to every rank, and frames
// are taken until `end` came from every rank. Frames of a pair of ranks keep their order, so nothing can follow.
template <TokenProblem P>
class Courier {
  using PacketType = typename Traffic<P>::PacketType;

 public:
  Courier(RankState<P>& state, Traffic<P>& traffic, Control& control)
      : state_(state), traffic_(traffic), pacer_(control), watch_(state.link), batches_(state.link.size()),
        ended_(state.link.size(), false) {
    ended_[state.link.rank()] = true;
  }

  // While the workers work.
  void serve() {
    const bool alone = state_.link.size() == 1;
    const std::chrono::microseconds nap = alone ? kPollPeriod : std::chrono::microseconds(50);
    bool busy = false;
    while (!state_.team.wait_for(busy ? std::chrono::microseconds(0) : nap)) {
      const bool shipped = !alone && ship();
      busy = (!alone && receive()) || shipped;
      if (pacer_.stop_requested()) stop();
      if (!busy && !alone) {
        say_alive();
        watch_.check_all(ended_, "exchanging packets");
      }
    }
  }

  // After the workers have left; packets that still arrive are parked.
  void finish(RunStatus mine) {
    workers_left_ = true;
    ship();
    for (std::uint32_t rank = 0; rank < state_.link.size(); ++rank) {
      if (rank != state_.link.rank()) state_.link.send(rank, open_frame({state_.run, FrameKind::end, mine}));
    }
    Backoff backoff;
    while (!everybody_ended()) {
      if (receive()) {
        backoff.reset();
        continue;
      }
      if (pacer_.stop_requested()) stopped_here_ = true;
      watch_.check_all(ended_, "waiting for the end of its run");
      backoff.pause();
    }
  }

  // Whether this rank asked for the stop.
  bool stopped_here() const { return stopped_here_; }
  const std::vector<PacketType*>& parked() const { return parked_; }

 private:
  // One message would do for each packet; some hundred tokens a message cost the network little more than one.
  static constexpr std::size_t kBatchBytes = 1 << 16;

  void stop() {
    stopped_here_ = true;
    traffic_.halt();
  }

  // Packs what the workers have put out, by destination. Flushing whenever the outbox is empty keeps latency low when
  // there is little to carry, and batches by itself when there is much.
  bool ship() {
    bool any = false;
    while (PacketType* packet = traffic_.outbox.try_pop()) {
      any = true;
      const std::uint32_t to = traffic_.destination(packet->header);
      Bytes& batch = batches_[to];
      if (batch.empty()) batch = open_frame({state_.run});
      WireWriter writer(batch);
      pack(*packet, writer);
      state_.pool.release(packet);
      if (batch.size() >= kBatchBytes) send_batch(to);
    }
    for (std::uint32_t to = 0; any && to < batches_.size(); ++to) {
      if (!batches_[to].empty()) send_batch(to);
    }
    return any;
  }

  void send_batch(std::uint32_t to) { state_.link.send(to, std::exchange(batches_[to], {})); }

  bool receive() {
    auto frame = state_.link.try_receive();
    if (!frame) return false;
    watch_.heard(frame->from);
    WireReader reader(frame->bytes);
    const FrameHeader header = read_header(reader, state_.run);
    if (header.kind == FrameKind::end) {
      ended_[frame->from] = true;
      if (header.status != RunStatus::ok) traffic_.halt();
    }
    while (!reader.empty()) {
      PacketType* packet = state_.pool.acquire();
      unpack(*packet, reader, state_.problem.row_size(), static_cast<std::uint32_t>(state_.globals.size()));
      if (workers_left_) {
        parked_.push_back(packet);
      } else {
        traffic_.arrive(packet);
      }
    }
    return true;
  }

  // A rank in a long visit is not a dead one.
  void say_alive() {
    const auto now = std::chrono::steady_clock::now();
    if (now < alive_due_) return;
    alive_due_ = now + watch_.sign_of_life_period();
    for (std::uint32_t rank = 0; rank < state_.link.size(); ++rank) {
      if (rank != state_.link.rank()) state_.link.send(rank, open_frame({state_.run, FrameKind::alive}));
    }
  }

  bool everybody_ended() const { return std::find(ended_.begin(), ended_.end(), false) == ended_.end(); }

  RankState<P>& state_;
  Traffic<P>& traffic_;
  Pacer pacer_;
  Watch watch_;
  std::vector<Bytes> batches_;  // by destination
  std::vector<bool> ended_;
  std::vector<PacketType*> parked_;
  std::chrono::steady_clock::time_point alive_due_{};
  bool stopped_here_ = false;
  bool workers_left_ = false;
};

}  // namespace steppe
