#include <doctest/doctest.h>

#include "rank_harness.hpp"
#include "steppe/core/rng.hpp"

namespace {

// A layout of up to four ranks with up to six shards each: far more threads than cores.
Plan random_plan(std::uint32_t number) {
  steppe::Stream stream(11, steppe::Purpose::data, number);
  Plan plan{.layout = {}, .schedule = steppe::Schedule::nomad};
  for (std::uint32_t rank = 0; rank <= stream.below(4); ++rank) plan.layout.push_back(1 + stream.below(6));
  plan.n_tokens = 5 + stream.below(56);
  plan.rounds = 1 + stream.below(5);
  plan.packet_tokens = 1 + stream.below(4);
  plan.density = 0.1 + 0.9 * stream.uniform();
  return plan;
}

template <class P>
void check_replay(const Plan& plan) {
  const auto fitted = fit<P>(plan);
  P problem(plan.n_tokens);
  auto shards = toy::make_shards(0, total(plan.layout), plan.n_tokens, plan.density);
  const auto rows = steppe::replay(problem, shards, fitted.record, 42);
  CHECK(rows == fitted.rows);
  CHECK(same_shards(shards, fitted.shards));
}

}  // namespace

TEST_CASE("many short nomad fits on oversubscribed cores replay bit-equal") {
  for (std::uint32_t number = 0; number < 40; ++number) {
    CAPTURE(number);
    const Plan plan = random_plan(number);
    check_replay<toy::One<float>>(plan);
    check_replay<toy::Gated<double>>(plan);
    check_replay<toy::WithGlobals<float>>(plan);
    check_replay<toy::Bundled<double>>(plan);
  }
}
