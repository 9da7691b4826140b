#include <doctest/doctest.h>

#include <chrono>
#include <stdexcept>
#include <string>

#include "schedules/rank_harness.hpp"
#include "steppe/comm/mpi_link.hpp"

using steppe::Schedule;

namespace {

std::unique_ptr<steppe::Link> world_link() { return steppe::make_mpi_link(steppe::MpiRuntime::world(), {}); }

// Uneven shares, the last rank's the smallest.
Layout layout_of(std::uint32_t ranks) {
  Layout layout(ranks, 2);
  layout.front() = 3;
  layout.back() = 1;
  return layout;
}

// This rank's part of the shards of all.
std::vector<toy::Shard> own(const std::vector<toy::Shard>& shards, const Layout& layout, std::uint32_t rank) {
  const auto first = shards.begin() + before(layout, rank);
  return {first, first + layout[rank]};
}

template <class P>
void check_replay(const Plan& plan) {
  const auto link = world_link();
  const auto fitted = fit_rank<P>(plan, *link);
  P problem(plan.n_tokens);
  auto shards = toy::make_shards(0, total(plan.layout), plan.n_tokens, plan.density);
  const auto rows = steppe::replay(problem, shards, fitted.record, 42);
  CHECK(rows == fitted.rows);
  CHECK(same_shards(own(shards, plan.layout, link->rank()), fitted.shards));
}

// Throws in the second training round, on the shards from `bad` on.
struct FailingOnLast : toy::Gated<double> {
  using toy::Gated<double>::Gated;
  static inline std::uint32_t bad = 0;
  steppe::VisitStats visit(toy::Shard& s, steppe::TokenView<double> t, const steppe::VisitContext& c) {
    if (c.pass == toy::kTrain && c.shard >= bad && c.round >= 1) throw std::runtime_error("no such luck");
    return toy::Gated<double>::visit(s, t, c);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("over MPI a recorded run replayed on one thread is bit-equal", P, toy::One<float>,
                   toy::Gated<double>, toy::WithGlobals<float>, toy::Bundled<double>) {
  const auto ranks = world_link()->size();
  for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
    for (const std::uint32_t packet_tokens : {1u, 5u}) {
      Plan plan{.layout = layout_of(ranks), .schedule = schedule};
      plan.packet_tokens = packet_tokens;
      check_replay<P>(plan);
      plan.n_tokens = 2;  // fewer tokens than shards
      check_replay<P>(plan);
    }
  }
}

TEST_CASE_TEMPLATE("bsp over MPI gives the bits of threads", P, toy::One<float>, toy::Gated<double>,
                   toy::WithGlobals<float>, toy::Bundled<double>) {
  const auto link = world_link();
  const Plan plan{.layout = layout_of(link->size())};
  const auto over_mpi = fit_rank<P>(plan, *link);
  const auto on_threads = fit<P>({.layout = {total(plan.layout)}});
  CHECK(over_mpi.rows == on_threads.rows);
  CHECK(over_mpi.objectives == on_threads.objectives);
  CHECK(over_mpi.globals == on_threads.globals);
  CHECK(same_shards(over_mpi.shards, own(on_threads.shards, plan.layout, link->rank())));
}

TEST_CASE("an exception on one rank ends the run on all, soon, and names the rank") {
  const auto link = world_link();
  const Layout layout(link->size(), 2);
  const std::uint32_t last = link->size() - 1;
  FailingOnLast::bad = before(layout, last);
  for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
    FailingOnLast problem(24);
    auto shards = toy::make_shards(before(layout, link->rank()), layout[link->rank()], 24);
    steppe::Team team(layout[link->rank()]);
    steppe::Control control;
    steppe::EngineOptions options;
    options.schedule = schedule;
    steppe::Engine<FailingOnLast> engine(problem, shards, *link, team, options);
    const auto started = std::chrono::steady_clock::now();
    std::string message;
    try {
      engine.run(toy::kTrain, 1000, true, control);
    } catch (const std::exception& error) {
      message = error.what();
    }
    const std::string elsewhere = "a visit failed on rank " + std::to_string(last) + ": no such luck";
    CHECK(message == (link->rank() == last ? "no such luck" : elsewhere));
    CHECK(std::chrono::steady_clock::now() - started < std::chrono::seconds(5));
  }
}
