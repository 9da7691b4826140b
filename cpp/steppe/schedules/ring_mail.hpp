#pragma once

#include <chrono>
#include <deque>
#include <utility>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/schedules/frame.hpp"
#include "steppe/schedules/visit.hpp"
#include "steppe/schedules/wait.hpp"

namespace steppe {

// What a rank sends and takes in a bsp run: frames of packets along the ring, meetings of all ranks, and signs of life
// between them. It is the control that the whole run polls, visits included: so a rank in a long visit is heard by
// those who wait for it, and hears of a stop or an error elsewhere. Used by the calling thread only.
class RingMail final : public Control {
 public:
  RingMail(Link& link, std::uint32_t run, Control& control, HaltFlag& halt)
      : link_(link), run_(run), control_(control), halt_(halt), watch_(link), met_(link.size()),
        alive_period_(watch_.sign_of_life_period()), alive_due_(Clock::now() + alive_period_) {}

  bool poll() override {
    say_alive();
    while (receive()) {}
    return control_.poll() || halt_.requested();
  }

  // To the rank below: its packet's head, and its rows as they are. An empty head says that there is no packet.
  void send_down(Bytes frame) { link_.send((link_.rank() + link_.size() - 1) % link_.size(), std::move(frame)); }

  // The next frame from the rank above; idle() is called while it has not come.
  template <class Idle>
  Bytes take_from_above(Idle&& idle) {
    wait([&] { return from_above_.empty() ? above() : link_.size(); }, "waiting for its packet in the ring shift",
         idle);
    Bytes frame = std::move(from_above_.front());
    from_above_.pop_front();
    return frame;
  }

  // Returns when every rank has come; whether one of them wants to leave. Having come, a rank is silent until all have:
  // what it said might arrive after the end of the run.
  template <class Idle>
  bool meet(bool leaving, Idle&& idle) {
    send_to_all(FrameKind::met, leaving ? RunStatus::stopped : RunStatus::ok);
    met_[link_.rank()].push_back(leaving);
    meeting_ = true;
    const auto missing = [&] {
      std::uint32_t rank = 0;
      while (rank < link_.size() && !met_[rank].empty()) ++rank;
      return rank;
    };
    wait(missing, "waiting for it at the end of a round", idle);
    meeting_ = false;
    bool any = false;
    for (auto& words : met_) {
      any |= words.front();
      words.pop_front();
    }
    return any;
  }

 private:
  using Clock = std::chrono::steady_clock;

  std::uint32_t above() const { return (link_.rank() + 1) % link_.size(); }

  // Until missing() names no rank any more.
  template <class Missing, class Idle>
  void wait(Missing&& missing, const char* doing, Idle&& idle) {
    Backoff backoff;
    watch_ = Watch(link_);
    for (std::uint32_t rank; (rank = missing()) < link_.size();) {
      if (receive()) {
        backoff.reset();
        continue;
      }
      say_alive();
      idle();
      watch_.check(rank, doing);
      backoff.pause();
    }
  }

  // Takes one frame; false if there is none.
  bool receive() {
    auto frame = link_.try_receive();
    if (!frame) return false;
    watch_.heard(frame->from);
    if (rows_follow_ && frame->from == above()) {
      rows_follow_ = false;
      from_above_.push_back(std::move(frame->bytes));
      return true;
    }
    WireReader reader(frame->bytes);
    const FrameHeader header = read_header(reader, run_);
    if (header.status != RunStatus::ok) halt_.request();
    if (header.kind == FrameKind::met) met_[frame->from].push_back(header.status != RunStatus::ok);
    if (header.kind != FrameKind::packets) return true;
    invariant(frame->from == above(), "a packet arrived against the direction of the ring");
    rows_follow_ = !reader.empty();
    from_above_.push_back(std::move(frame->bytes));
    return true;
  }

  // Now and then, and at once when this rank halts.
  void say_alive() {
    const bool halts = halt_.requested() && !said_halt_;
    const auto now = Clock::now();
    if (meeting_ || (!halts && now < alive_due_)) return;
    alive_due_ = now + alive_period_;
    said_halt_ |= halts;
    send_to_all(FrameKind::alive, halts ? RunStatus::stopped : RunStatus::ok);
  }

  void send_to_all(FrameKind kind, RunStatus status) {
    for (std::uint32_t rank = 0; rank < link_.size(); ++rank) {
      if (rank != link_.rank()) link_.send(rank, open_frame({run_, kind, status}));
    }
  }

  Link& link_;
  std::uint32_t run_;
  Control& control_;
  HaltFlag& halt_;
  Watch watch_;
  std::deque<Bytes> from_above_;
  bool rows_follow_ = false;           // the next frame from above is the rows of the packet before
  std::vector<std::deque<bool>> met_;  // by rank: the meetings it has come to and this rank has not ended
  Clock::duration alive_period_;
  Clock::time_point alive_due_;
  bool said_halt_ = false;
  bool meeting_ = false;
};

}  // namespace steppe
