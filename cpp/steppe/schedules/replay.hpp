#pragma once

#include <vector>

#include "steppe/comm/local_link.hpp"
#include "steppe/schedules/rank_state.hpp"
#include "steppe/schedules/visit.hpp"

namespace steppe {

// Does again, on one thread, what a recorded fit did: each shard lives through its events in its own order, each packet
// through its visits in the order of its sequence. A cycle would mean that two workers held one packet at a time.
template <TokenProblem P>
class Replay {
  using Row = typename P::Row;

 public:
  // Fresh problem and shards (all of them, by number), as they were before the recorded fit.
  Replay(P& problem, std::vector<typename P::Shard>& shards, const Record& record, std::uint64_t seed)
      : problem_(problem), shards_(shards), record_(record), seed_(seed), cursor_(shards.size(), 0),
        rows_(std::size_t{problem.n_tokens()} * problem.row_size()) {
    for (std::uint32_t id = 0; id < problem.n_tokens(); ++id) problem.init_token({id, row(id)}, seed);
    std::vector<double> start(problem.n_globals());
    problem.init_globals(start);
    globals_ = Globals(std::move(start), static_cast<std::uint32_t>(shards.size()));
  }

  // The rows by token id.
  std::vector<Row> operator()() {
    for (run_ = 0; run_ < record_.runs.size(); ++run_) {
      open_run();
      while (step_any()) {}
      close_run();
    }
    return rows_;
  }

 private:
  std::span<Row> row(std::uint32_t id) {
    return std::span(rows_).subspan(std::size_t{id} * problem_.row_size(), problem_.row_size());
  }
  const RunRecord& now() const { return record_.runs[run_]; }

  void open_run() {
    packets_.assign(now().deal.n_packets(), {});
    sequence_.assign(packets_.size() + 1, 0);
    travelling_ = globals_.agreed();
    for (std::uint32_t p = 0; p < packets_.size(); ++p) {
      const auto ids = now().deal.packet(p);
      packets_[p].header.id = p;
      packets_[p].ids.assign(ids.begin(), ids.end());
      packets_[p].rows.resize(ids.size() * problem_.row_size());
      const auto bundle = packets_[p].bundle(problem_.row_size());
      for (std::size_t i = 0; i < ids.size(); ++i) std::ranges::copy(row(ids[i]), bundle[i].row.begin());
    }
  }

  void close_run() {
    for (std::size_t s = 0; s < shards_.size(); ++s) invariant(!pending(s), "a recorded run cannot be put in an order");
    for (auto& packet : packets_) {
      const auto bundle = packet.bundle(problem_.row_size());
      for (std::size_t i = 0; i < bundle.size(); ++i) std::ranges::copy(bundle[i].row, row(bundle.id(i)).begin());
    }
  }

  const Event* pending(std::size_t shard) const {
    const auto& events = record_.shards[shard];
    if (cursor_[shard] == events.size() || events[cursor_[shard]].run != run_) return nullptr;
    return &events[cursor_[shard]];
  }

  bool step_any() {
    bool moved = false;
    for (std::uint32_t s = 0; s < shards_.size(); ++s) {
      while (const Event* event = pending(s)) {
        if (!do_event(s, *event)) break;
        ++cursor_[s];
        moved = true;
      }
    }
    return moved || sum_when_all_wait();
  }

  bool do_event(std::uint32_t shard, const Event& event) {
    switch (event.kind) {
      case EventKind::visit: {
        if (sequence_[event.packet] != event.sequence) return false;
        ++sequence_[event.packet];
        visit_packet(problem_, shards_[shard], packets_[event.packet], context(shard, event), order_,
                     [](std::uint64_t) { return false; });
        return true;
      }
      case EventKind::delta:
        if (sequence_.back() != event.sequence) return false;
        ++sequence_.back();
        globals_.merge(shard, travelling_);
        return true;
      case EventKind::end_round:
        problem_.end_round(shards_[shard], context(shard, event));
        return true;
      case EventKind::sum_globals:
        return false;
    }
    return false;
  }

  bool sum_when_all_wait() {
    for (std::size_t s = 0; s < shards_.size(); ++s) {
      const Event* event = pending(s);
      if (event == nullptr || event->kind != EventKind::sum_globals) return false;
    }
    LocalLink alone;
    globals_.sum(alone, now().shared_base ? std::optional(travelling_) : std::nullopt);
    for (auto& cursor : cursor_) ++cursor;
    return true;
  }

  VisitContext context(std::uint32_t shard, const Event& event) {
    return {seed_,      now().training_round + event.round,
            shard,      static_cast<std::uint32_t>(shards_.size()),
            now().pass, globals_.working(shard),
            {}};
  }

  P& problem_;
  std::vector<typename P::Shard>& shards_;
  const Record& record_;
  std::uint64_t seed_;
  std::uint32_t run_ = 0;
  std::vector<std::size_t> cursor_;
  std::vector<Row> rows_;
  Globals globals_;
  std::vector<double> travelling_;
  std::vector<Packet<Row>> packets_;
  std::vector<std::uint32_t> sequence_;  // next visit by packet; the last is the delta packet's
  std::vector<std::uint32_t> order_;
};

template <TokenProblem P>
std::vector<typename P::Row> replay(P& problem, std::vector<typename P::Shard>& shards, const Record& record,
                                    std::uint64_t seed) {
  return Replay<P>(problem, shards, record, seed)();
}

}  // namespace steppe
