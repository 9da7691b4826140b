#include <doctest/doctest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "schedules/rank_harness.hpp"
#include "steppe/comm/local_link.hpp"

using namespace steppe;

namespace {

struct SummedShard {
  std::vector<double> rows;
};

// Token j is the sum over all rows of row^j: nothing that depends on tokens, so all is known in closed form.
struct Powers : ProblemDefaults<SummedShard, double> {
  std::uint32_t n = 5;
  double total = 0;
  int fail_at = -1;  // sweeps until one throws
  std::vector<double> prepared = std::vector<double>(5);
  double sum_of_tokens = 0;  // at the begin of a step

  std::uint32_t n_tokens() const { return n; }
  std::uint32_t row_size() const { return 2; }
  void init_token(TokenView<double> token, std::uint64_t) const { token.row[0] = token.row[1] = token.id; }
  bool touches(const Shard& shard, std::uint32_t, Pass) const { return !shard.rows.empty(); }
  VisitStats visit(Shard&, TokenView<double>, const VisitContext&) { return {}; }
  template <class F>
  static void state(Shard&, F&&) {}

  std::size_t n_rows(const Shard& shard) const { return shard.rows.size(); }
  double total_weight() const { return total; }
  void begin_step(Bundle<double> all) {
    sum_of_tokens = 0;
    for (std::size_t j = 0; j < all.size(); ++j) sum_of_tokens += all[j].row[0];
  }
  void prepare(Bundle<double> all, std::size_t first, std::size_t last) {
    for (std::size_t j = first; j < last; ++j) prepared[j] = all[j].row[0];
  }
  SweepStats sweep(Shard& shard, Bundle<double> all, const RowSample& sample, std::span<double> sums,
                   const VisitContext&) const {
    if (fail_at >= 0 && prepared[0] >= fail_at) throw std::runtime_error("from the sweep");
    SweepStats stats;
    for (std::size_t i = 0; i < (sample.all ? shard.rows.size() : sample.rows.size()); ++i) {
      const double row = shard.rows[sample.all ? i : sample.rows[i]];
      for (std::size_t j = 0; j < all.size(); ++j) sums[2 * j] += std::pow(row, double(all.id(j)));
      stats.loss += row;
      stats.weight += 1;
      ++stats.updates;
    }
    return stats;
  }
  void blend(TokenView<double> token, std::span<const double> sums, double rate, double scale) const {
    token.row[0] += rate * (scale * sums[0] - token.row[0]);
    token.row[1] += 1;  // counts the steps
  }
  double token_divergence(TokenView<const double> token) const { return token.row[1]; }
};
static_assert(SumsOverRows<Powers>);

struct Outcome {
  std::vector<double> rows;
  double objective = 0;
  VisitStats stats;
};

Outcome run(const Layout& layout, EngineOptions options, std::uint32_t rounds, int failing_rank = -1,
            std::vector<std::exception_ptr>* errors = nullptr) {
  Outcome outcome;
  on_ranks(
      static_cast<std::uint32_t>(layout.size()),
      [&](std::uint32_t rank, Link& link) {
        Powers problem;
        problem.total = 60;
        problem.fail_at = int(rank) == failing_rank ? 60 : -1;  // token 0 is the number of rows after one step
        std::vector<SummedShard> shards;
        const std::uint32_t all = total(layout), first = before(layout, rank);
        for (std::uint32_t s = first; s < first + layout[rank]; ++s) {
          SummedShard shard;
          for (std::uint32_t i = s; i < 60; i += all) shard.rows.push_back(0.01 * i);
          shards.push_back(shard);
        }
        Team team(layout[rank]);
        Control control;
        Engine<Powers> engine(problem, shards, link, team, options);
        const auto result = engine.run(0, rounds, true, control);
        std::vector<double> rows(10);
        engine.gather(rows);
        const double objective = engine.objective(control);
        // batch has the sums after one step; under svi the objective swept the tokens as they are left.
        CHECK(problem.sum_of_tokens == doctest::Approx(rows[0] + rows[2] + rows[4] + rows[6] + rows[8]));
        if (rank == 0) outcome = {rows, objective, result.total};
      },
      errors);
  return outcome;
}

double sum_of_powers(std::uint32_t j) {
  double sum = 0;
  for (int i = 0; i < 60; ++i) sum += std::pow(0.01 * i, j);
  return sum;
}

}  // namespace

TEST_CASE("batch: every token becomes the sum over the rows of all shards and ranks") {
  for (const Layout& layout : {Layout{1}, Layout{3}, Layout{2, 1}, Layout{1, 1, 2}, Layout{1, 1, 1, 1, 1, 1, 1}}) {
    const Outcome outcome = run(layout, {.schedule = Schedule::batch}, 3);
    for (std::uint32_t j = 0; j < 5; ++j) {
      CHECK(outcome.rows[2 * j] == doctest::Approx(sum_of_powers(j)).epsilon(1e-13));
      CHECK(outcome.rows[2 * j + 1] == j + 3);
    }
    CHECK(outcome.stats.updates == 180);
  }
}

TEST_CASE("svi: each row is seen once a round, in steps whose rate falls") {
  for (const Layout& layout : {Layout{1}, Layout{3}, Layout{2, 1}, Layout{1, 1, 2}}) {
    const EngineOptions options{
        .schedule = Schedule::svi, .seed = 3, .batch_rows = 12, .learning_decay = 0.7, .learning_offset = 2};
    const Outcome outcome = run(layout, options, 4);
    CHECK(outcome.stats.updates == 240);
    double ones = 0;  // token 0: each step says 60
    for (int t = 0; t < 20; ++t) ones += std::pow(2.0 + t, -0.7) * (60 - ones);
    CHECK(outcome.rows[0] == doctest::Approx(ones).epsilon(1e-12));
    CHECK(outcome.rows[1] == 20);
    CHECK(outcome.rows[2] == doctest::Approx(sum_of_powers(1)).epsilon(0.2));
    // A sweep over all rows, and the divergences of tokens: here their steps.
    CHECK(outcome.objective == doctest::Approx(sum_of_powers(1) + 5 * 20 + 10));
  }
}

TEST_CASE("a sweep that fails on one rank ends the run on all") {
  for (const std::uint32_t failing : {0u, 2u}) {
    std::vector<std::exception_ptr> errors;
    run({1, 2, 1}, {.schedule = Schedule::batch}, 5, int(failing), &errors);
    for (std::size_t rank = 0; rank < errors.size(); ++rank) {
      REQUIRE(errors[rank]);
      CHECK(describe(errors[rank]).find("from the sweep") != std::string::npos);
    }
  }
}

TEST_CASE("a model whose tokens are no sums is refused") {
  CHECK_THROWS_AS(fit<toy::One<double>>({.schedule = Schedule::batch}), InvalidArgument);
}
