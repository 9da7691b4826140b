#include <benchmark/benchmark.h>

#include "steppe/comm/local_link.hpp"
#include "steppe/schedules/engine.hpp"

// What the engine itself costs: rounds of empty visits. Goals: a hop (pop, route, push) under 50 ns on one
// worker; a drain (an empty run of two threads) under 100 us.
namespace {

struct Nothing : steppe::ProblemDefaults<int, float> {
  explicit Nothing(std::uint32_t tokens) : n(tokens) {}
  std::uint32_t n_tokens() const { return n; }
  std::uint32_t row_size() const { return 33; }
  bool touches(const int&, std::uint32_t, steppe::Pass) const { return true; }
  void init_token(steppe::TokenView<float> token, std::uint64_t) const { std::ranges::fill(token.row, 0.0f); }
  template <class F>
  static void state(int&, F&&) {}
  steppe::VisitStats visit(int&, steppe::TokenView<float>, const steppe::VisitContext&) { return {1, 0}; }
  std::uint32_t n;
};

void rounds_of_empty_visits(benchmark::State& state, steppe::Schedule schedule, std::uint32_t n_tokens,
                            std::uint32_t packet_tokens, std::uint32_t rounds) {
  const auto workers = static_cast<std::uint32_t>(state.range(0));
  Nothing problem(n_tokens);
  std::vector<int> shards(workers);
  steppe::LocalLink link;
  steppe::Team team(workers);
  steppe::Control control;
  steppe::EngineOptions options;
  options.schedule = schedule;
  options.packet_tokens = packet_tokens;
  steppe::Engine engine(problem, shards, link, team, options);
  std::uint64_t visits = 0;
  for (auto _ : state) visits += engine.run(0, rounds, true, control).total.updates;
  state.SetItemsProcessed(static_cast<std::int64_t>(visits));
}

void nomad_hops(benchmark::State& state) { rounds_of_empty_visits(state, steppe::Schedule::nomad, 5000, 1, 20); }
void nomad_packets_of_16(benchmark::State& state) {
  rounds_of_empty_visits(state, steppe::Schedule::nomad, 5000, 16, 20);
}
void bsp_visits(benchmark::State& state) { rounds_of_empty_visits(state, steppe::Schedule::bsp, 5000, 1, 20); }
void nomad_drain(benchmark::State& state) { rounds_of_empty_visits(state, steppe::Schedule::nomad, 1, 1, 1); }

BENCHMARK(nomad_hops)->Arg(1)->Arg(2)->Arg(4)->UseRealTime();
BENCHMARK(nomad_packets_of_16)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(bsp_visits)->Arg(1)->Arg(2)->UseRealTime();
BENCHMARK(nomad_drain)->Arg(2)->UseRealTime();

}  // namespace
