#pragma once

#include <exception>
#include <vector>

#include "steppe/schedules/rank_state.hpp"
#include "steppe/schedules/visit.hpp"

namespace steppe {

// Work on all shards of a rank at the same time, by the team. An exception belongs to its shard and waits for the
// ranks' next agreement, for which the others are waiting.
template <TokenProblem P>
class ShardWork {
 public:
  ShardWork(RankState<P>& state, Pacer& pacer, HaltFlag& halt)
      : state_(state), pacer_(pacer), halt_(halt), errors_(state.n_local()) {}

  // body(local shard, halted); shards may outnumber threads.
  template <class Body>
  void for_each_shard(Body&& body) {
    const auto work = [&](std::uint32_t member, auto& halted) {
      for (std::uint32_t l = member; l < state_.n_local() && !halted(0); l += state_.team.size()) {
        try {
          body(l, halted);
        } catch (...) {
          errors_[l] = std::current_exception();
          halt_.request();
        }
      }
    };
    InlinePoll poll(pacer_, halt_);
    const auto job = [&](std::uint32_t member) { member == 0 ? work(0, poll) : work(member, halt_); };
    state_.team.run_polling(job, pacer_, [&] { halt_.request(); });
  }

  void poll() {
    if (pacer_.stop_requested()) halt_.request();
  }

  // The first shard's exception, and whether this rank goes on.
  void conclude(RunOutcome& outcome) {
    poll();
    for (const auto& error : errors_) {
      if (error && !outcome.error) outcome.error = error;
    }
    if (outcome.error) {
      outcome.status = RunStatus::failed;
    } else if (halt_.requested()) {
      outcome.status = RunStatus::stopped;
    }
  }

 private:
  RankState<P>& state_;
  Pacer& pacer_;
  HaltFlag& halt_;
  std::vector<std::exception_ptr> errors_;
};

}  // namespace steppe
