#include <doctest/doctest.h>

#include "rank_harness.hpp"
#include "steppe/comm/local_link.hpp"

using steppe::Schedule;

namespace {

const std::vector<Layout> kLayouts{{1}, {2}, {4}, {2, 2}, {1, 2, 1}, {2, 1}};

// Every touched (token, shard) pair was met exactly once in every training round.
template <class P>
void check_each_pair_met_once_a_round(const Fitted<P>& fitted, std::uint32_t rounds) {
  for (const auto& shard : fitted.shards) {
    for (std::size_t j = 0; j < shard.touched.size(); ++j) {
      CHECK(shard.visits[j] == (shard.touched[j] ? rounds : 0u));
    }
  }
}

template <class P>
void check_replay(const Plan& plan) {
  const auto fitted = fit<P>(plan);
  check_each_pair_met_once_a_round(fitted, plan.runs * plan.rounds);
  P problem(plan.n_tokens);
  auto shards = toy::make_shards(0, total(plan.layout), plan.n_tokens, plan.density);
  const auto rows = steppe::replay(problem, shards, fitted.record, 42);
  CHECK(rows == fitted.rows);
  CHECK(same_shards(shards, fitted.shards));
}

template <class P>
void check_replay_everywhere(Schedule schedule) {
  for (const auto& layout : kLayouts) {
    for (const std::uint32_t rounds : {1u, 5u}) {
      CAPTURE(layout.size());
      CAPTURE(rounds);
      Plan plan{.layout = layout, .schedule = schedule};
      plan.rounds = rounds;
      check_replay<P>(plan);
      plan.packet_tokens = 5;
      check_replay<P>(plan);
    }
  }
}

template <class P>
void check_layouts_agree() {
  const auto reference = fit<P>({.layout = {4}, .threads = 1});
  for (const Plan& plan : {Plan{.layout = {4}, .threads = 2}, Plan{.layout = {4}, .threads = 4}, Plan{.layout = {2, 2}},
                           Plan{.layout = {1, 3}, .threads = 2}, Plan{.layout = {1, 1, 2}}}) {
    const auto other = fit<P>(plan);
    CHECK(other.rows == reference.rows);
    CHECK(same_shards(other.shards, reference.shards));
    CHECK(other.objectives == reference.objectives);
    CHECK(other.globals == reference.globals);
  }
}

}  // namespace

TEST_CASE_TEMPLATE("nomad: a recorded run replayed on one thread is bit-equal", P, toy::One<float>, toy::Gated<double>,
                   toy::WithGlobals<float>, toy::Bundled<double>) {
  check_replay_everywhere<P>(Schedule::nomad);
}

TEST_CASE_TEMPLATE("bsp: a recorded run replayed on one thread is bit-equal", P, toy::One<double>, toy::Gated<float>,
                   toy::WithGlobals<double>, toy::Bundled<float>) {
  check_replay_everywhere<P>(Schedule::bsp);
}

TEST_CASE_TEMPLATE("without a transport a recorded run replayed on one thread is bit-equal", P, toy::One<float>,
                   toy::Gated<double>, toy::WithGlobals<float>, toy::Bundled<double>) {
  for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
    for (const Layout& layout : {Layout{1}, Layout{4}}) {
      const Plan plan{.layout = layout, .schedule = schedule};
      steppe::LocalLink link;
      const auto fitted = fit_rank<P>(plan, link);
      P problem(plan.n_tokens);
      auto shards = toy::make_shards(0, layout[0], plan.n_tokens, plan.density);
      CHECK(steppe::replay(problem, shards, fitted.record, 42) == fitted.rows);
      CHECK(same_shards(shards, fitted.shards));
    }
  }
}

TEST_CASE_TEMPLATE("bsp depends on the seed and the number of shards, not on threads or ranks", P, toy::One<float>,
                   toy::Gated<double>, toy::WithGlobals<float>, toy::Bundled<double>) {
  check_layouts_agree<P>();
}

TEST_CASE_TEMPLATE("objective() between rounds leaves the fit bit-equal", P, toy::One<float>, toy::Gated<double>,
                   toy::WithGlobals<float>, toy::Bundled<double>) {
  for (const auto& layout : {Layout{3}, Layout{1, 2}}) {
    const auto with = fit<P>({.layout = layout});
    const auto without = fit<P>({.layout = layout, .evaluate_between = false});
    CHECK(with.rows == without.rows);
    CHECK(same_shards(with.shards, without.shards));
  }
}

TEST_CASE("more shards than tokens, and tokens that nobody touches") {
  for (const auto& layout : {Layout{20}, Layout{7, 6, 7}}) {
    for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
      check_replay<toy::Gated<float>>({.layout = layout, .schedule = schedule, .n_tokens = 5});
      check_replay<toy::WithGlobals<double>>({.layout = layout, .schedule = schedule, .n_tokens = 5, .density = 0.05});
    }
  }
}

TEST_CASE("serial is bsp with one shard, and nomad with one worker meets the same pairs") {
  Plan serial{.layout = {1}, .schedule = Schedule::serial};
  const auto a = fit<toy::Gated<double>>(serial);
  const auto b = fit<toy::Gated<double>>({.layout = {1}});
  CHECK(a.rows == b.rows);
  CHECK(same_shards(a.shards, b.shards));
  const Plan nomad{.layout = {1}, .schedule = Schedule::nomad};
  check_each_pair_met_once_a_round(fit<toy::Gated<double>>(nomad), nomad.runs * nomad.rounds);
}

TEST_CASE("the delta packet conserves the globals") {
  // Each visit adds step * old to one global; the same sum is known from a replay in any order of merging, so it is
  // enough that additions of all shards arrive: compare with a problem in which they are counted.
  struct Counting : toy::One<double> {
    using toy::One<double>::One;
    std::uint32_t n_globals() const { return 1; }
    void init_globals(std::span<double> globals) const { globals[0] = 10; }
    steppe::VisitStats visit(toy::Shard& s, steppe::TokenView<double>, const steppe::VisitContext& c) {
      if (c.pass == toy::kTrain) c.globals[0] += static_cast<double>(s.rows.size());
      return {1, 0};
    }
  };
  for (const auto& layout : kLayouts) {
    for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
      const auto fitted = fit<Counting>({.layout = layout, .schedule = schedule});
      double expected = 10;
      for (const auto& shard : fitted.shards) {
        for (const char touched : shard.touched) expected += touched ? 6.0 * static_cast<double>(shard.rows.size()) : 0;
      }
      CHECK(fitted.globals[0] == expected);
    }
  }
}
