#pragma once

#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "steppe/core/rng.hpp"
#include "steppe/schedules/cut.hpp"
#include "steppe/schedules/drain.hpp"
#include "steppe/schedules/rank_state.hpp"
#include "steppe/schedules/shard_work.hpp"
#include "steppe/schedules/wait.hpp"

namespace steppe {

// Steps in which all tokens stand still while the shards add up what their rows contribute, and then take over the
// sums. batch: one step a round over all rows, at full rate. svi (Hoffman et al., JMLR 2013): a round is cut into steps
// of about batch_rows rows, drawn without replacement, whose rate falls.
//
// Between steps each rank keeps a share of the tokens; a step gathers all of them, and sends what its shards have
// summed to the rank that keeps the token, where ranks are added in their order. The result depends on the seed and on
// the layout of shards over ranks, not on threads.
template <SumsOverRows P>
class BatchRun {
  using Row = typename P::Row;

 public:
  BatchRun(RankState<P>& state, const RunSpec& spec, Control& control)
      : state_(state), spec_(spec), control_(control), pacer_(control), work_(state, pacer_, halt_),
        row_size_(state.problem.row_size()), ids_(state.problem.n_tokens()), rows_(ids_.size() * row_size_),
        sums_(state.n_local()), stats_(state.n_local()) {
    std::iota(ids_.begin(), ids_.end(), 0u);
    outcome_.shards.resize(state.n_local());
  }

  RunOutcome operator()() {
    const std::uint64_t n_steps = spec_.training ? steps_of_a_round() : 1;
    for (std::uint32_t round = 0; round < spec_.rounds; ++round) {
      if (n_steps > 1) draw_orders(round);
      for (std::uint64_t step = 0; step < n_steps; ++step) {
        sweep(round, step, n_steps);
        const double weight = agree_on_weight();
        if (leaving_) return std::move(outcome_);
        if (weight > 0) take_over(rate(round, step, n_steps), state_.problem.total_weight() / weight, n_steps == 1);
      }
    }
    return std::move(outcome_);
  }

  // A sweep over all rows whose loss is the rows' part of the objective; tokens keep their rows.
  RunOutcome evaluate() {
    sweep(0, 0, 1);
    agree_on_weight();
    return std::move(outcome_);
  }

 private:
  Bundle<Row> all_tokens() { return {ids_, rows_.data(), static_cast<std::uint32_t>(row_size_)}; }

  std::uint64_t steps_of_a_round() {
    if (state_.options.schedule == Schedule::batch) return 1;
    std::uint64_t n_rows = 0;
    for (const auto& shard : state_.shards) n_rows += state_.problem.n_rows(shard);
    sum_over_ranks(state_.link, std::span(&n_rows, 1));
    const std::uint64_t size = std::max<std::uint64_t>(state_.options.batch_rows, 1);
    return std::max<std::uint64_t>((n_rows + size - 1) / size, 1);
  }

  double rate(std::uint32_t round, std::uint64_t step, std::uint64_t n_steps) const {
    if (state_.options.schedule == Schedule::batch || !spec_.training) return 1;
    const double made = double(state_.training_round + round) * double(n_steps) + double(step);
    return std::min(1.0, std::pow(state_.options.learning_offset + made, -state_.options.learning_decay));
  }

  void draw_orders(std::uint32_t round) {
    orders_.resize(state_.n_local());
    for (std::uint32_t l = 0; l < state_.n_local(); ++l) {
      orders_[l].resize(state_.problem.n_rows(state_.shards[l]));
      std::iota(orders_[l].begin(), orders_[l].end(), 0u);
      Stream stream(state_.options.seed, Purpose::sample, state_.first_shard() + l, state_.training_round + round);
      shuffle(std::span(orders_[l]), stream);
    }
  }

  RowSample sample(std::uint32_t l, std::uint64_t step, std::uint64_t n_steps) const {
    if (n_steps == 1) return {};
    const std::uint64_t n = orders_[l].size(), first = n * step / n_steps, last = n * (step + 1) / n_steps;
    return {false, std::span(orders_[l]).subspan(first, last - first)};
  }

  void sweep(std::uint32_t round, std::uint64_t step, std::uint64_t n_steps) {
    gather_rows(state_, std::span(rows_), false);
    state_.problem.begin_step(all_tokens());
    constexpr std::size_t kGrain = 16;
    state_.team.parallel_for(ids_.size(), kGrain, [&](std::size_t first, std::size_t last, std::uint32_t) {
      state_.problem.prepare(all_tokens(), first, last);
    });
    work_.for_each_shard([&](std::uint32_t l, auto& halted) {
      sums_[l].assign(rows_.size(), Row{0});
      VisitContext context = state_.context(l, spec_, round);
      context.halted = HaltProbe(halted);
      stats_[l] = state_.problem.sweep(state_.shards[l], all_tokens(), sample(l, step, n_steps), sums_[l], context);
      outcome_.shards[l] += stats_[l];
    });
  }

  // Collective. The weight of the step's rows; sets leaving_ if some rank failed or was stopped, so that no rank goes
  // on with half a step.
  double agree_on_weight() {
    work_.conclude(outcome_);
    double told[] = {halt_.requested() ? 1.0 : 0.0, 0.0};
    for (const SweepStats& stats : stats_) told[1] += stats.weight;
    if (state_.link.size() > 1) sum_over_ranks(state_.link, told);
    leaving_ = told[0] > 0;
    return told[1];
  }

  void take_over(double rate, double scale, bool whole) {
    for (std::size_t l = 1; l < sums_.size(); ++l) {
      for (std::size_t i = 0; i < rows_.size(); ++i) sums_[0][i] += sums_[l][i];
    }
    if (state_.link.size() > 1) exchange_sums();
    for (auto* packet : state_.parked) {
      const auto bundle = packet->bundle(static_cast<std::uint32_t>(row_size_));
      for (std::size_t i = 0; i < bundle.size(); ++i) {
        state_.problem.blend(bundle[i], sums_of(bundle.id(i)), rate, whole ? 1.0 : scale);
      }
    }
  }

  std::span<Row> sums_of(std::uint32_t id) { return std::span(sums_[0]).subspan(id * row_size_, row_size_); }

  // sums_[0] of the tokens kept here becomes the sum over ranks, in their order.
  void exchange_sums() {
    Link& link = state_.link;
    std::vector<Bytes> messages(link.size(), open_frame({state_.run}));
    for (std::uint32_t p = 0; p < state_.deal.n_packets(); ++p) {
      const std::uint32_t home = p % link.size();
      if (home == link.rank()) continue;
      WireWriter writer(messages[home]);
      writer.put(link.rank());
      for (const std::uint32_t id : state_.deal.packet(p)) writer.put(std::span<const Row>(sums_of(id)));
    }
    std::vector<std::vector<Row>> theirs(link.size());
    exchange_all(link, control_, state_.run, std::move(messages), [&](WireReader& reader) {
      if (reader.empty()) return;
      auto& values = theirs[reader.get<std::uint32_t>()];
      for (const auto* packet : state_.parked) values.resize(values.size() + packet->ids.size() * row_size_);
      reader.get(std::span(values));
    });
    std::size_t at = 0;
    for (const auto* packet : state_.parked) {
      for (const std::uint32_t id : packet->ids) {
        const auto mine = sums_of(id);
        for (std::size_t i = 0; i < row_size_; ++i, ++at) {
          Row sum{0};
          for (std::uint32_t rank = 0; rank < link.size(); ++rank) {
            sum += rank == link.rank() ? mine[i] : theirs[rank][at];
          }
          mine[i] = sum;
        }
      }
    }
  }

  RankState<P>& state_;
  RunSpec spec_;
  Control& control_;
  Pacer pacer_;
  HaltFlag halt_;
  ShardWork<P> work_;
  std::size_t row_size_;
  std::vector<std::uint32_t> ids_;
  std::vector<Row> rows_;               // of all tokens, by id
  std::vector<std::vector<Row>> sums_;  // by local shard
  std::vector<std::vector<std::uint32_t>> orders_;
  std::vector<SweepStats> stats_;  // of the step
  bool leaving_ = false;
  RunOutcome outcome_;
};

}  // namespace steppe
