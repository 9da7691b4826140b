#pragma once

#include <algorithm>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "steppe/comm/thread_link.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/runtime/team.hpp"
#include "steppe/schedules/engine.hpp"
#include "steppe/schedules/replay.hpp"
#include "toy_problems.hpp"

// Runs body(rank, link) on n ranks, each a thread; rethrows the first rank's exception unless `errors` collects them.
template <class Body>
void on_ranks(std::uint32_t n, Body&& body, std::vector<std::exception_ptr>* errors = nullptr, double timeout = 60) {
  auto links = steppe::make_thread_links(n, timeout);
  std::vector<std::exception_ptr> raised(n);
  {
    std::vector<std::jthread> threads;
    for (std::uint32_t rank = 0; rank < n; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          body(rank, *links[rank]);
        } catch (...) {
          raised[rank] = std::current_exception();
        }
        links[rank].reset();
      });
    }
  }
  if (errors != nullptr) {
    *errors = raised;
    return;
  }
  for (const auto& error : raised) {
    if (error) std::rethrow_exception(error);
  }
}

using Layout = std::vector<std::uint32_t>;  // shards by rank

inline std::uint32_t total(const Layout& layout) {
  std::uint32_t sum = 0;
  for (const std::uint32_t n : layout) sum += n;
  return sum;
}

inline std::uint32_t before(const Layout& layout, std::uint32_t rank) {
  std::uint32_t sum = 0;
  for (std::uint32_t r = 0; r < rank; ++r) sum += layout[r];
  return sum;
}

template <class P>
struct Fitted {
  std::vector<typename P::Row> rows;
  std::vector<toy::Shard> shards;  // by number, over all ranks
  std::vector<double> objectives;
  std::vector<double> globals;
  steppe::Record record;
};

struct Plan {
  Layout layout{1};
  steppe::Schedule schedule = steppe::Schedule::bsp;
  std::uint32_t n_tokens = 24;
  std::uint32_t runs = 3, rounds = 2;  // of training
  std::uint32_t packet_tokens = 1;
  std::uint32_t threads = 0;  // per rank; 0: as many as shards
  bool evaluate_between = true;
  double density = 0.7;
};

// What one rank does and sees: all parameters, and its own shards.
template <class P>
Fitted<P> fit_rank(const Plan& plan, steppe::Link& link) {
  P problem(plan.n_tokens);
  const std::uint32_t mine = plan.layout[link.rank()];
  Fitted<P> fitted;
  fitted.shards = toy::make_shards(before(plan.layout, link.rank()), mine, plan.n_tokens, plan.density);
  steppe::Team team(plan.threads > 0 ? plan.threads : mine);
  steppe::Control control;
  steppe::EngineOptions options;
  options.schedule = plan.schedule;
  options.seed = 42;
  options.packet_tokens = plan.packet_tokens;
  options.record = true;
  steppe::Engine<P> engine(problem, fitted.shards, link, team, options);
  for (std::uint32_t run = 0; run < plan.runs; ++run) {
    engine.run(toy::kTrain, plan.rounds, true, control);
    if (plan.evaluate_between) fitted.objectives.push_back(engine.objective(control));
  }
  fitted.rows.resize(std::size_t{plan.n_tokens} * problem.row_size());
  engine.gather(fitted.rows);
  fitted.record = engine.record();
  fitted.globals.assign(engine.globals().begin(), engine.globals().end());
  return fitted;
}

// Trains a toy problem on ThreadLink ranks and brings everything together.
template <class P>
Fitted<P> fit(const Plan& plan) {
  Fitted<P> fitted;
  std::vector<toy::Shard> shards(total(plan.layout));
  on_ranks(static_cast<std::uint32_t>(plan.layout.size()), [&](std::uint32_t rank, steppe::Link& link) {
    Fitted<P> mine = fit_rank<P>(plan, link);
    std::copy(mine.shards.begin(), mine.shards.end(), shards.begin() + before(plan.layout, rank));
    if (rank == 0) fitted = std::move(mine);
  });
  fitted.shards = std::move(shards);
  return fitted;
}

inline bool same_shards(const std::vector<toy::Shard>& a, const std::vector<toy::Shard>& b) {
  for (std::size_t s = 0; s < a.size(); ++s) {
    if (a[s].rows != b[s].rows || a[s].opened != b[s].opened || a[s].accumulated != b[s].accumulated ||
        a[s].visits != b[s].visits) {
      return false;
    }
  }
  return a.size() == b.size();
}
