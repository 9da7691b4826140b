#pragma once

#include <string>
#include <utility>
#include <vector>

#include "steppe/models/fit_session.hpp"
#include "steppe/runtime/team.hpp"
#include "steppe/schedules/engine.hpp"

namespace steppe {

// The schedule a user's name stands for. `parallel_default` is what "auto" means where there is more than one worker:
// the one that measures best for that model.
inline Schedule parse_schedule(const std::string& name, std::uint32_t n_threads, std::uint32_t n_ranks,
                               Schedule parallel_default) {
  const bool alone = n_threads == 1 && n_ranks == 1;
  if (name == "auto") return alone ? Schedule::serial : parallel_default;
  if (name == "serial") {
    require(n_ranks == 1, "schedule='serial' runs on one worker; with a cluster use 'bsp' or 'nomad'");
    return Schedule::serial;
  }
  if (name == "bsp") return Schedule::bsp;
  if (name == "nomad") return Schedule::nomad;
  if (name == "hogwild") return Schedule::hogwild;
  throw InvalidArgument("schedule='" + name + "' is unknown; choose 'auto', 'serial', 'bsp', 'nomad' or 'hogwild'");
}

// Workers, and so shards, of one rank: serial has one whatever n_jobs says.
inline std::uint32_t workers_for(Schedule schedule, std::uint32_t n_threads) {
  return schedule == Schedule::serial ? 1 : n_threads;
}

// A fit by the token engine. A model derives from it and says what its result is.
template <TokenProblem P>
class TokenSession : public FitSession {
 public:
  using Row = typename P::Row;
  using Shard = typename P::Shard;

  // One shard for each of n_threads workers, or for bsp any number of them. The link outlives the session.
  TokenSession(P problem, std::vector<Shard> shards, Link& link, std::uint32_t n_threads, EngineOptions options,
               Pass train_pass)
      : problem_(std::move(problem)), shards_(std::move(shards)), link_(link), team_(n_threads),
        engine_(problem_, shards_, link, team_, options), train_pass_(train_pass) {}

  Progress advance(std::uint32_t rounds, Control& control) override {
    initialise(control);
    const RunResult result = engine_.run(train_pass_, rounds, true, control);
    return {result.total.updates, result.total.loss, result.stopped};
  }

  double objective(Control& control) override {
    initialise(control);
    return engine_.objective(control);
  }

  std::uint32_t rounds_done() const override { return engine_.training_rounds(); }

  ArrayMap state() const override {
    ArrayMap cut = engine_.cut();
    cut["initialised"] = Array::scalar(static_cast<std::uint8_t>(initialised_));
    return cut;
  }

  void restore(const ArrayMap& state) override {
    engine_.restore(state);
    initialised_ = scalar_at<std::uint8_t>(state, "initialised") != 0;
  }

  Engine<P>& engine() { return engine_; }

 protected:
  // Collective. What comes before the first round.
  void initialise(Control& control) {
    if constexpr (P::init_pass >= 0) {
      if (!initialised_) engine_.run(Pass{P::init_pass}, 1, false, control);
    }
    initialised_ = true;
  }

  P problem_;
  std::vector<Shard> shards_;
  Link& link_;
  Team team_;
  Engine<P> engine_;

 private:
  Pass train_pass_;
  bool initialised_ = false;
};

}  // namespace steppe
