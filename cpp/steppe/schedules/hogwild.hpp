#pragma once

#include <vector>

#include "steppe/schedules/rank_state.hpp"
#include "steppe/schedules/visit.hpp"

namespace steppe {

// HOGWILD! (Niu et al., NIPS 2011): every worker visits every token whenever it likes, without ownership. Rows are read
// and written by relaxed atomics (Access = Shared in the kernels); updates may be lost, races in the language's sense
// may not happen. One rank only: there is no shared memory between ranks.
template <TokenProblem P>
class HogwildRun {
 public:
  HogwildRun(RankState<P>& state, const RunSpec& spec, Control& control)
      : state_(state), spec_(spec), control_(control), pacer_(control),
        one_by_one_(state.team.size() == 1 || (!spec.training && P::init_pass >= 0 && spec.pass == P::init_pass)) {
    outcome_.shards.resize(state.n_local());
  }

  RunOutcome operator()() {
    const Team::Job job = [this](std::uint32_t member) {
      for (std::uint32_t l = member; l < state_.n_local(); l += state_.team.size()) work(l);
    };
    try {
      if (one_by_one_) {
        for (std::uint32_t l = 0; l < state_.n_local(); ++l) work(l);
      } else {
        state_.team.run(job, control_, [this] { halt_.request(); });
      }
    } catch (...) {
      outcome_.error = std::current_exception();
      outcome_.status = RunStatus::failed;
    }
    if (outcome_.status == RunStatus::ok && halt_.requested()) outcome_.status = RunStatus::stopped;
    state_.globals.sum(state_.link, std::nullopt);
    return std::move(outcome_);
  }

 private:
  void work(std::uint32_t l) {
    InlinePoll poll(pacer_, halt_);
    for (std::uint32_t round = 0; round < spec_.rounds; ++round) {
      const VisitContext context = state_.context(l, spec_, round);
      order_visits(state_.visit_order[l], state_.parked.size(), context, 0);
      for (const std::uint32_t i : state_.visit_order[l]) {
        outcome_.shards[l] +=
            one_by_one_ ? visit(l, *state_.parked[i], context, poll) : visit(l, *state_.parked[i], context, halt_);
        if (halt_.requested()) return;
      }
      state_.problem.end_round(state_.shards[l], context);
    }
  }

  // Beside training only the initial pass writes to tokens, by plain writes.
  template <class Halted>
  VisitStats visit(std::uint32_t l, Packet<typename P::Row>& packet, const VisitContext& context, Halted& halted) {
    if (spec_.training) {
      if (!touches_any(state_.problem, state_.shards[l], packet.ids, spec_.pass)) return {};
      VisitContext interruptible = context;
      interruptible.halted = HaltProbe(halted);
      const VisitStats stats =
          state_.problem.visit_shared(state_.shards[l], packet.bundle(state_.problem.row_size()), interruptible);
      halted(stats.updates);
      return stats;
    }
    std::vector<std::uint32_t> order;
    return visit_packet(state_.problem, state_.shards[l], packet, context, order, halted);
  }

  RankState<P>& state_;
  RunSpec spec_;
  Control& control_;
  Pacer pacer_;
  bool one_by_one_;  // shards take their turn on the calling thread
  HaltFlag halt_;
  RunOutcome outcome_;
};

}  // namespace steppe
