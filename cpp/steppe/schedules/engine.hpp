#pragma once

#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "steppe/core/array_map.hpp"
#include "steppe/schedules/batch.hpp"
#include "steppe/schedules/bsp.hpp"
#include "steppe/schedules/cut.hpp"
#include "steppe/schedules/hogwild.hpp"
#include "steppe/schedules/nomad.hpp"
#include "steppe/schedules/restore.hpp"
#include "steppe/schedules/table.hpp"

namespace steppe {

// Runs a TokenProblem on one rank's shards, together with the engines of the other ranks. Every public call is
// collective over the ranks of the link. Between calls all packets are parked and nothing is in flight, so the
// objective, a cut and the end of the fit see consistent parameters.
//
// A fit: run(init); then run(train, rounds, true) and objective() in turn; then gather().
template <TokenProblem P>
class Engine {
 public:
  using Row = typename P::Row;
  using Shard = typename P::Shard;

  // The problem, the shards (at least one, possibly empty ones), the link and the team outlive the engine. nomad needs
  // one thread for each shard; serial one shard in all; hogwild one rank.
  Engine(P& problem, std::vector<Shard>& shards, Link& link, Team& team, EngineOptions options)
      : state_{.problem = problem,
               .shards = shards,
               .link = link,
               .team = team,
               .options = options,
               .first_shard_of = {},
               .deal = {},
               .pool = {},
               .parked = {},
               .globals = {},
               .record = {},
               .visit_order = std::vector<std::vector<std::uint32_t>>(shards.size())} {
    number_shards();
    check();
    create_tokens(state_);
    std::vector<double> start(problem.n_globals());
    problem.init_globals(start);
    state_.globals = Globals(std::move(start), state_.n_local());
    state_.record.shards.resize(shards.size());
  }

  // `stopped` in the result: the control asked for it on some rank. Every visit is whole, so the parameters are usable,
  // but the round is not: resume from the last cut. Throws what a visit threw, on every rank.
  RunResult run(Pass pass, std::uint32_t rounds, bool training, Control& control) {
    RunResult result;
    // One packet on one shard: dealing it again would only copy it.
    const bool deals = P::redeal && training && !meets_all_tokens(state_.options.schedule) &&
                       (state_.deal.n_packets() > 1 || state_.n_shards() > 1);
    for (std::uint32_t done = 0; done < rounds && !result.stopped;) {
      if (deals) deal(control);
      const RunSpec spec{pass, deals ? 1 : rounds, training};
      const RunResult one = run_once(spec, control);
      result.total += one.total;
      result.stopped = one.stopped;
      done += spec.rounds;
    }
    return result;
  }

  // The exact objective at a drain: an evaluation pass if the problem has one, then the parts of shards, packets and
  // globals, summed in an order that does not depend on ranks. Leaves the fit as it was, bit by bit. nan if the control
  // asked for a stop on some rank.
  double objective(Control& control) {
    if constexpr (SumsOverRows<P>) {
      if (state_.options.schedule == Schedule::svi || !Visits<P>) return swept_objective(control);
    }
    double sum = 0;
    if constexpr (P::evaluate_pass >= 0) {
      const RunResult evaluated = run(Pass{P::evaluate_pass}, 1, false, control);
      if (evaluated.stopped) return std::numeric_limits<double>::quiet_NaN();
      sum += evaluated.total.loss;
    }
    return state_.problem.finish(sum + local_parts(state_), state_.globals.agreed());
  }

  // All rows by token id, whole on every rank: n_tokens x row_size. `release` frees the tokens on the way, for models
  // that do not fit twice; only the shards are of use afterwards.
  void gather(std::span<Row> rows, bool release = false) { gather_rows(state_, rows, release); }

  ArrayMap cut() const { return make_cut(state_); }
  void restore(const ArrayMap& cut) {
    restore_cut(state_, cut);
    surveys_.clear();
  }

  Record record() { return gather_record(state_.link, state_.record); }
  std::uint32_t training_rounds() const { return state_.training_round; }
  std::span<const double> globals() const { return state_.globals.agreed(); }
  std::uint32_t first_shard() const { return state_.first_shard(); }
  std::uint32_t n_shards() const { return state_.n_shards(); }

 private:
  void number_shards() {
    Bytes mine;
    WireWriter(mine).put(state_.n_local());
    state_.first_shard_of.push_back(0);
    for (const Bytes& bytes : state_.link.allgather(std::move(mine))) {
      const auto n = WireReader(bytes).get<std::uint32_t>();
      state_.first_shard_of.push_back(state_.first_shard_of.back() + n);
      invariant(n > 0, "every rank needs a shard, if only an empty one");
    }
  }

  void check() const {
    const Schedule schedule = state_.options.schedule;
    invariant(state_.problem.n_tokens() > 0, "a problem needs at least one token");
    invariant(schedule != Schedule::serial || state_.n_shards() == 1, "serial means one shard in all");
    invariant(schedule != Schedule::nomad || state_.n_local() == state_.team.size(),
              "nomad needs one thread for each shard");
    require(SumsOverRows<P> || !meets_all_tokens(schedule),
            "schedule='batch' and 'svi' are not offered by this model; use 'nomad' or 'bsp'");
    invariant(Visits<P> || meets_all_tokens(schedule), "this problem offers batch and svi only");
    invariant(!meets_all_tokens(schedule) || state_.problem.n_globals() == 0,
              "batch and svi know no globals: what all tokens sum to is in the tokens that a sweep is given");
    if (schedule != Schedule::hogwild) return;
    require(
        state_.link.size() == 1,
        "schedule='hogwild' shares memory between workers, so it cannot span ranks; use 'nomad' or 'bsp' on a cluster");
    require(VisitsShared<P>, "schedule='hogwild' is not offered by this model; use 'nomad' or 'bsp'");
  }

  void deal(Control& control) {
    deal_again(state_, control);
    surveys_.clear();
    ++state_.run;
  }

  RunResult run_once(const RunSpec& spec, Control& control) {
    if (state_.options.record) {
      state_.record.runs.resize(state_.run + 1);
      state_.record.runs.back() = {spec.pass, spec.training, state_.options.schedule == Schedule::nomad,
                                   state_.training_round, state_.deal};
    }
    const RunOutcome outcome = dispatch(spec, control);
    const RunResult result = settle(state_, outcome);
    ++state_.run;
    if (spec.training) state_.training_round += spec.rounds;
    return result;
  }

  // Where tokens are no exact sums, as between the steps of svi, or the rows' part is known from a sweep alone.
  double swept_objective(Control& control)
    requires SumsOverRows<P>
  {
    const RunResult evaluated = settle(state_, BatchRun<P>(state_, {}, control).evaluate());
    ++state_.run;
    if (evaluated.stopped) return std::numeric_limits<double>::quiet_NaN();
    const double divergence = sum_parts(
        state_, [](const auto&) { return 0.0; }, [&](auto token) { return state_.problem.token_divergence(token); });
    return state_.problem.finish(evaluated.total.loss + divergence, state_.globals.agreed());
  }

  RunOutcome dispatch(const RunSpec& spec, Control& control) {
    if constexpr (SumsOverRows<P>) {
      if (meets_all_tokens(state_.options.schedule)) return BatchRun<P>(state_, spec, control)();
    }
    if constexpr (Visits<P>) {
      return meet_by_turns(spec, control);
    } else {
      throw InvariantViolation("this problem offers batch and svi only");
    }
  }

  RunOutcome meet_by_turns(const RunSpec& spec, Control& control)
    requires Visits<P>
  {
    if (state_.options.schedule == Schedule::nomad) {
      auto known = surveys_.find(spec.pass);
      if (known == surveys_.end()) known = surveys_.emplace(spec.pass, survey(state_, spec.pass)).first;
      return NomadRun<P>(state_, spec, known->second, control)();
    }
    if constexpr (VisitsShared<P>) {
      if (state_.options.schedule == Schedule::hogwild) return HogwildRun<P>(state_, spec, control)();
    }
    return BspRun<P>(state_, spec, control)();
  }

  RankState<P> state_;
  std::map<Pass, Occupancy> surveys_;  // constant while the packets are
};

}  // namespace steppe
