#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <string>

#include "rank_harness.hpp"
#include "steppe/comm/local_link.hpp"

using steppe::Schedule;

namespace {

// Throws in the third training round, on the shard numbered `bad`.
struct Failing : toy::Gated<double> {
  using toy::Gated<double>::Gated;
  static inline std::uint32_t bad = 0;
  std::uint32_t n_globals() const { return 1; }  // so that a delta packet has to survive, too
  void init_globals(std::span<double> globals) const { globals[0] = 0; }
  steppe::VisitStats visit(toy::Shard& s, steppe::TokenView<double> t, const steppe::VisitContext& c) {
    if (c.pass == toy::kTrain && c.shard == bad && c.round >= 2) throw std::runtime_error("no such luck");
    return toy::Gated<double>::visit(s, t, c);
  }
};

std::string message_of(const std::exception_ptr& error) { return steppe::describe(error); }

// Asks for a stop at the n-th poll.
class StopAt : public steppe::Control {
 public:
  explicit StopAt(int polls) : left_(polls) {}
  bool poll() override { return --left_ <= 0; }

 private:
  int left_;
};

// A visit long enough for a run to meet a poll.
struct Slow : toy::One<double> {
  using toy::One<double>::One;
  std::uint32_t n_globals() const { return 1; }  // so that a delta packet has to survive, too
  void init_globals(std::span<double> globals) const { globals[0] = 0; }
  steppe::VisitStats visit(toy::Shard& s, steppe::TokenView<double> t, const steppe::VisitContext& c) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    toy::One<double>::visit(s, t, c);
    return {5000, 0};
  }
};

// A visit that ends only when it is told to.
struct Endless : toy::Bundled<double> {
  using toy::Bundled<double>::Bundled;
  steppe::VisitStats visit(toy::Shard& s, steppe::Bundle<double> bundle, const steppe::VisitContext& c) {
    auto stats = toy::Bundled<double>::visit(s, bundle, c);
    while (c.pass == toy::kTrain && !c.halted(5000)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return stats;
  }
};

// An evaluation that ends only when it is told to, and what is asked of the tokens after it.
struct EndlessEvaluation : toy::Bundled<double> {
  using toy::Bundled<double>::Bundled;
  std::atomic<int>* asked = nullptr;
  steppe::VisitStats visit(toy::Shard& s, steppe::Bundle<double> bundle, const steppe::VisitContext& c) {
    while (c.pass == toy::kEvaluate && !c.halted(5000)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return toy::Bundled<double>::visit(s, bundle, c);
  }
  double token_objective(steppe::TokenView<const double>) const { return ++*asked; }
};

// Visits on the shard numbered 1 outlast any time-out of the test's.
struct Lasting : toy::Bundled<double> {
  using toy::Bundled<double>::Bundled;
  steppe::VisitStats visit(toy::Shard& s, steppe::Bundle<double> bundle, const steppe::VisitContext& c) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(c.shard == 1 ? 1600 : 0);
    while (std::chrono::steady_clock::now() < end && !c.halted(5000)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return toy::Bundled<double>::visit(s, bundle, c);
  }
};

// Notices when two workers are in the initial pass at once.
struct Initialised : toy::One<double> {
  using toy::One<double>::One;
  static constexpr int init_pass = 2;
  std::atomic<int>* inside = nullptr;
  std::atomic<bool>* met_another = nullptr;
  steppe::VisitStats visit(toy::Shard&, steppe::TokenView<double>, const steppe::VisitContext& c) {
    if (c.pass == init_pass && inside->fetch_add(1) > 0) *met_another = true;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    inside->fetch_sub(1);
    return {1, 0};
  }
  steppe::VisitStats visit_shared(toy::Shard&, steppe::Bundle<double>, const steppe::VisitContext&) { return {}; }
};

template <class P>
steppe::Engine<P> make_engine(P& problem, std::vector<toy::Shard>& shards, steppe::Link& link, steppe::Team& team,
                              Schedule schedule) {
  steppe::EngineOptions options;
  options.schedule = schedule;
  return {problem, shards, link, team, options};
}

// Sums of ids and counts over the ranks: conserved by whatever ended the run.
void check_tokens_conserved(steppe::Link& link, const steppe::ArrayMap& cut, std::uint32_t n_tokens) {
  std::uint64_t sums[2] = {0, 0};
  for (const std::uint32_t id : steppe::at(cut, "token_ids").as<std::uint32_t>()) {
    sums[0] += id;
    ++sums[1];
  }
  steppe::sum_over_ranks(link, sums);
  CHECK(sums[1] == n_tokens);
  CHECK(sums[0] == std::uint64_t{n_tokens} * (n_tokens - 1) / 2);
}

}  // namespace

TEST_CASE("an exception in a visit ends the run on every rank, names the rank and loses no token") {
  for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
    for (const Layout& layout : {Layout{4}, Layout{2, 2}, Layout{1, 2, 1}}) {
      Failing::bad = 1;  // on the first rank of {4} and {2, 2}, on the second of {1, 2, 1}
      const std::uint32_t bad_rank = layout.front() > 1 ? 0 : 1;
      std::vector<std::exception_ptr> errors;
      on_ranks(
          static_cast<std::uint32_t>(layout.size()),
          [&](std::uint32_t rank, steppe::Link& link) {
            Failing problem(24);
            auto shards = toy::make_shards(before(layout, rank), layout[rank], 24);
            steppe::Team team(layout[rank]);
            steppe::Control control;
            auto engine = make_engine(problem, shards, link, team, schedule);
            engine.run(toy::kTrain, 2, true, control);
            try {
              engine.run(toy::kTrain, 5, true, control);
            } catch (...) {
              check_tokens_conserved(link, engine.cut(), 24);
              throw;
            }
          },
          &errors);
      for (std::uint32_t rank = 0; rank < layout.size(); ++rank) {
        const std::string message = message_of(errors[rank]);
        if (rank == bad_rank) {
          CHECK(message == "no such luck");
        } else {
          CHECK(message == "a visit failed on rank " + std::to_string(bad_rank) + ": no such luck");
        }
      }
    }
  }
}

TEST_CASE("a stop on one rank stops all, keeps whole visits and conserves tokens") {
  for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
    for (const Layout& layout : {Layout{1}, Layout{3}, Layout{2, 1}}) {
      on_ranks(static_cast<std::uint32_t>(layout.size()), [&](std::uint32_t rank, steppe::Link& link) {
        Slow problem(24);
        auto shards = toy::make_shards(before(layout, rank), layout[rank], 24);
        steppe::Team team(layout[rank]);
        StopAt stop(rank == 0 ? 1 : 1 << 30);
        auto engine = make_engine(problem, shards, link, team, schedule);
        const auto result = engine.run(toy::kTrain, 100000, true, stop);
        CHECK(result.stopped);
        check_tokens_conserved(link, engine.cut(), 24);
      });
    }
  }
}

TEST_CASE("a stop reaches into a visit of a packet") {
  for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
    for (const Layout& layout : {Layout{1}, Layout{3}, Layout{2, 1}, Layout{1, 1}}) {
      on_ranks(static_cast<std::uint32_t>(layout.size()), [&](std::uint32_t rank, steppe::Link& link) {
        Endless problem(24);
        auto shards = toy::make_shards(before(layout, rank), layout[rank], 24);
        steppe::Team team(layout[rank]);
        StopAt stop(rank == 0 ? 1 : 1 << 30);
        auto engine = make_engine(problem, shards, link, team, schedule);
        CHECK(engine.run(toy::kTrain, 2, true, stop).stopped);
        check_tokens_conserved(link, engine.cut(), 24);
      });
    }
  }
}

TEST_CASE("a stop ends an evaluation without an objective") {
  for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
    for (const Layout& layout : {Layout{1}, Layout{2}, Layout{1, 1}}) {
      on_ranks(static_cast<std::uint32_t>(layout.size()), [&](std::uint32_t rank, steppe::Link& link) {
        EndlessEvaluation problem(24);
        std::atomic<int> asked{0};
        problem.asked = &asked;
        auto shards = toy::make_shards(before(layout, rank), layout[rank], 24);
        steppe::Team team(layout[rank]);
        StopAt stop(rank == 0 ? 1 : 1 << 30);
        auto engine = make_engine(problem, shards, link, team, schedule);
        CHECK(std::isnan(engine.objective(stop)));
        CHECK(asked == 0);
      });
    }
  }
}

TEST_CASE("a rank in a visit longer than the time-out is not taken for dead") {
  for (const Layout& layout : {Layout{1, 1, 1}}) {
    on_ranks(
        static_cast<std::uint32_t>(layout.size()),
        [&](std::uint32_t rank, steppe::Link& link) {
          Lasting problem(2 * static_cast<std::uint32_t>(layout.size()));
          auto shards = toy::make_shards(before(layout, rank), layout[rank], problem.n_tokens(), 1.0);
          steppe::Team team(layout[rank]);
          steppe::Control control;
          auto engine = make_engine(problem, shards, link, team, Schedule::bsp);
          CHECK_FALSE(engine.run(toy::kTrain, 1, true, control).stopped);
        },
        nullptr, 1.0);
  }
}

TEST_CASE_TEMPLATE("a fit resumed from a cut goes on bit-equal under bsp", P, toy::One<float>, toy::Gated<double>,
                   toy::WithGlobals<float>, toy::Bundled<double>) {
  for (const Layout& layout : {Layout{1}, Layout{4}, Layout{2, 2}}) {
    on_ranks(static_cast<std::uint32_t>(layout.size()), [&](std::uint32_t rank, steppe::Link& link) {
      const auto fresh = [&] { return toy::make_shards(before(layout, rank), layout[rank], 24); };
      P problem(24);
      steppe::Control control;
      steppe::Team team(layout[rank]);
      auto whole_shards = fresh();
      auto whole = make_engine(problem, whole_shards, link, team, Schedule::bsp);
      whole.run(toy::kTrain, 3, true, control);
      const auto cut = whole.cut();
      whole.run(toy::kTrain, 4, true, control);

      auto resumed_shards = fresh();
      auto resumed = make_engine(problem, resumed_shards, link, team, Schedule::bsp);
      resumed.restore(cut);
      resumed.run(toy::kTrain, 4, true, control);

      CHECK(same_shards(whole_shards, resumed_shards));
      std::vector<typename P::Row> a(24 * 3), b(24 * 3);
      whole.gather(a);
      resumed.gather(b);
      CHECK(a == b);
      CHECK(whole.objective(control) == resumed.objective(control));
    });
  }
}

TEST_CASE_TEMPLATE("a nomad fit goes on from a cut, and a cut of other data is refused", P, toy::Gated<double>,
                   toy::Bundled<double>) {
  const Layout layout{2, 1};
  on_ranks(2, [&](std::uint32_t rank, steppe::Link& link) {
    P problem(24);
    const auto fresh = [&] { return toy::make_shards(before(layout, rank), layout[rank], 24); };
    steppe::Team team(layout[rank]);
    steppe::Control control;
    auto shards = fresh(), others = fresh();
    auto engine = make_engine(problem, shards, link, team, Schedule::nomad);
    engine.run(toy::kTrain, 2, true, control);
    auto cut = engine.cut();
    const double before_rest = engine.objective(control);
    auto resumed = make_engine(problem, others, link, team, Schedule::nomad);
    resumed.restore(cut);
    CHECK(resumed.objective(control) == doctest::Approx(before_rest).epsilon(1e-12));
    CHECK(resumed.training_rounds() == 2);
    resumed.run(toy::kTrain, 1, true, control);
    check_tokens_conserved(link, resumed.cut(), 24);
    cut.erase("shard0.rows");
    CHECK_THROWS_WITH_AS(resumed.restore(cut), "state: it lacks the array 'shard0.rows'", steppe::InvalidArgument);
  });
}

TEST_CASE("a cut of another schedule, or one that is cut short, is refused") {
  const Layout layout{2, 1};
  on_ranks(2, [&](std::uint32_t rank, steppe::Link& link) {
    toy::One<double> problem(24);
    steppe::Team team(layout[rank]);
    steppe::Control control;
    for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
      auto shards = toy::make_shards(before(layout, rank), layout[rank], 24), others = shards;
      auto engine = make_engine(problem, shards, link, team, schedule);
      engine.run(toy::kTrain, 1, true, control);
      auto cut = engine.cut();
      auto other =
          make_engine(problem, others, link, team, schedule == Schedule::bsp ? Schedule::nomad : Schedule::bsp);
      CHECK_THROWS_AS(other.restore(cut), steppe::InvalidArgument);
      cut["token_ids"] = steppe::Array::zeros<std::uint32_t>({1});
      CHECK_THROWS_AS(engine.restore(cut), steppe::InvalidArgument);
    }
  });
}

TEST_CASE("a damaged cut is refused, whatever was changed in it") {
  using Words = std::vector<std::uint32_t>;
  steppe::LocalLink link;
  toy::One<double> problem(24);
  steppe::Team team(3);
  steppe::Control control;
  for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
    auto shards = toy::make_shards(0, 3, 24);
    auto engine = make_engine(problem, shards, link, team, schedule);
    engine.run(toy::kTrain, 1, true, control);
    const auto whole = engine.cut();
    const auto refuses = [&](const char* name, auto change) {
      auto cut = whole;
      const auto old = whole.at(name).as<std::uint32_t>();
      Words words(old.begin(), old.end());
      change(words);
      cut[name] = steppe::Array::copy_of(std::span<const std::uint32_t>(words));
      CHECK_THROWS_AS(engine.restore(cut), steppe::InvalidArgument);
      engine.restore(whole);
    };
    refuses("token_ids", [](Words& ids) { ids[0] = 3'000'000'000; });
    refuses("token_ids", [](Words& ids) { ids[0] = ids[1]; });
    refuses("token_ids", [](Words& ids) { ids.push_back(0); });
    refuses("packets", [](Words& packets) { packets[0] = 3'000'000'000; });
    refuses("packets", [](Words& packets) { packets[1] = 3'000'000'000; });
    refuses("packets", [](Words& packets) { packets[2] = packets[0]; });
    refuses("packets", [](Words& packets) { packets.pop_back(); });
    refuses("training_round", [](Words& round) { round.clear(); });
    refuses("rotation", [](Words& rotation) { rotation.push_back(0); });
    refuses("deal_round", [](Words& round) { round.clear(); });
    refuses("first_shard_of", [](Words& first) { first[1] = 2; });
    CHECK(engine.cut()["token_rows"].data == whole.at("token_rows").data);
  }
}

TEST_CASE("a rank that leaves is named by those who wait for it") {
  for (const Schedule schedule : {Schedule::bsp, Schedule::nomad}) {
    std::vector<std::exception_ptr> errors;
    on_ranks(
        2,
        [&](std::uint32_t rank, steppe::Link& link) {
          toy::One<double> problem(24);
          auto shards = toy::make_shards(rank, 1, 24);
          steppe::Team team(1);
          steppe::Control control;
          auto engine = make_engine(problem, shards, link, team, schedule);
          if (rank == 1) throw std::runtime_error("left");
          engine.run(toy::kTrain, 1, true, control);
        },
        &errors, 0.3);
    CHECK(message_of(errors[0]).find("rank 1") != std::string::npos);
  }
}

TEST_CASE("hogwild meets every pair, and refuses ranks") {
  struct SharedVisit : toy::One<double> {
    using toy::One<double>::One;
    steppe::VisitStats visit_shared(toy::Shard& s, steppe::Bundle<double> b, const steppe::VisitContext&) {
      for (const std::uint32_t id : b.ids()) {
        if (s.touched[id]) ++s.visits[id];
      }
      return {b.size(), 0};
    }
  };
  SharedVisit problem(24);
  auto shards = toy::make_shards(0, 3, 24);
  steppe::Team team(3);
  steppe::Control control;
  steppe::LocalLink alone;
  auto engine = make_engine(problem, shards, alone, team, Schedule::hogwild);
  engine.run(toy::kTrain, 4, true, control);
  for (const auto& shard : shards) {
    for (std::size_t j = 0; j < 24; ++j) CHECK(shard.visits[j] == (shard.touched[j] ? 4u : 0u));
  }
  on_ranks(2, [](std::uint32_t rank, steppe::Link& link) {
    SharedVisit other(24);
    auto own = toy::make_shards(rank, 1, 24);
    steppe::Team one(1);
    CHECK_THROWS_AS(make_engine(other, own, link, one, Schedule::hogwild), steppe::InvalidArgument);
  });
}

TEST_CASE("hogwild: the initial pass, which writes plainly to tokens, is made by one worker at a time") {
  std::atomic<int> inside = 0;
  std::atomic<bool> met_another = false;
  Initialised problem(24);
  problem.inside = &inside;
  problem.met_another = &met_another;
  auto shards = toy::make_shards(0, 4, 24);
  steppe::Team team(4);
  steppe::Control control;
  steppe::LocalLink alone;
  auto engine = make_engine(problem, shards, alone, team, Schedule::hogwild);
  CHECK(engine.run(Initialised::init_pass, 1, false, control).total.updates > 0);
  CHECK(!met_another);
}

TEST_CASE("a frame of another run is noticed") {
  const steppe::Bytes frame = steppe::open_frame({7});
  steppe::WireReader same(frame), other(frame);
  CHECK(steppe::read_header(same, 7).kind == steppe::FrameKind::packets);
  CHECK_THROWS_AS(steppe::read_header(other, 8), steppe::InvariantViolation);
}
