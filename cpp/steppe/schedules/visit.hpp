#pragma once

#include <algorithm>
#include <atomic>
#include <numeric>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/schedules/concepts.hpp"
#include "steppe/schedules/packet.hpp"

namespace steppe {

// Asked between visits: whether to leave. Workers read a flag that the calling thread sets.
class HaltFlag {
 public:
  bool requested() const noexcept { return flag_.load(std::memory_order_relaxed); }
  // True for the first to ask.
  bool request() noexcept { return !flag_.exchange(true, std::memory_order_acq_rel); }
  bool operator()(std::uint64_t) const noexcept { return requested(); }

 private:
  std::atomic<bool> flag_{false};
};

// The same question where the calling thread visits by itself and so has to poll between visits. A look at the clock
// costs as much as a few updates, so it waits for some thousand of them.
class InlinePoll {
 public:
  InlinePoll(Pacer& pacer, HaltFlag& halt) : pacer_(pacer), halt_(halt) {}

  bool operator()(std::uint64_t updates) {
    work_ += updates + 16;
    if (work_ >= 4096) {
      work_ = 0;
      if (pacer_.stop_requested()) halt_.request();
    }
    return halt_.requested();
  }

 private:
  Pacer& pacer_;
  HaltFlag& halt_;
  std::uint64_t work_ = 0;
};

template <TokenProblem P>
bool touches_any(const P& problem, const typename P::Shard& shard, std::span<const std::uint32_t> ids, Pass pass) {
  return std::any_of(ids.begin(), ids.end(), [&](std::uint32_t id) { return problem.touches(shard, id, pass); });
}

// The order in which a shard meets the tokens of a packet: keyed, so a replay needs no log of it.
inline void order_visits(std::vector<std::uint32_t>& order, std::size_t n, const VisitContext& context,
                         std::uint32_t packet) {
  order.resize(n);
  std::iota(order.begin(), order.end(), 0u);
  if (n < 2) return;
  Stream stream(context.seed, Purpose::visit_order, (std::uint64_t{packet} << 32) | context.shard, context.round);
  shuffle(std::span(order), stream);
}

// One visit of a packet. `halted(updates)` may end it between two tokens; each token's visit is whole.
template <TokenProblem P, class Halted>
VisitStats visit_packet(P& problem, typename P::Shard& shard, Packet<typename P::Row>& packet,
                        const VisitContext& context, std::vector<std::uint32_t>& order, Halted&& halted) {
  const auto bundle = packet.bundle(problem.row_size());
  VisitStats stats;
  if constexpr (VisitsBundle<P>) {
    if (!touches_any(problem, shard, bundle.ids(), context.pass)) return stats;
    VisitContext interruptible = context;
    interruptible.halted = HaltProbe(halted);
    stats = problem.visit(shard, bundle, interruptible);
    halted(stats.updates);
  } else {
    order_visits(order, bundle.size(), context, packet.header.id);
    for (const std::uint32_t i : order) {
      if (!problem.touches(shard, bundle.id(i), context.pass)) continue;
      const VisitStats one = problem.visit(shard, bundle[i], context);
      stats += one;
      if (halted(one.updates)) break;
    }
  }
  return stats;
}

}  // namespace steppe
