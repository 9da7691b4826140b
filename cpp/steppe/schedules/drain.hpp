#pragma once

#include <string>

#include "steppe/schedules/rank_state.hpp"

namespace steppe {

struct RunResult {
  VisitStats total;  // over all ranks, summed in shard order
  bool stopped = false;
};

// The one allgather that ends every run: counts the tokens, adds the statistics in shard order, and makes all ranks
// raise or stop together. The rank where a visit failed rethrows its exception; the others name that rank.
template <TokenProblem P>
RunResult settle(RankState<P>& state, const RunOutcome& outcome) {
  std::uint64_t tokens = 0;
  for (const auto* packet : state.parked) tokens += packet->ids.size();
  const std::string error = describe(outcome.error);
  Bytes mine;
  WireWriter writer(mine);
  writer.put(tokens);
  writer.put(outcome.status);
  writer.put(error.size());
  writer.put(std::span(error.data(), error.size()));
  writer.put(std::span<const VisitStats>(outcome.shards));

  RunResult result;
  std::uint64_t all_tokens = 0;
  int failed_rank = -1;
  std::string failure;
  const auto all = state.link.allgather(std::move(mine));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    WireReader reader(all[rank]);
    all_tokens += reader.get<std::uint64_t>();
    const auto status = reader.get<RunStatus>();
    std::string message(reader.get<std::size_t>(), '\0');
    reader.get(std::span(message));
    while (!reader.empty()) result.total += reader.get<VisitStats>();
    if (status == RunStatus::stopped) result.stopped = true;
    if (status == RunStatus::failed && failed_rank < 0) {
      failed_rank = static_cast<int>(rank);
      failure = message;
    }
  }
  invariant(all_tokens == state.problem.n_tokens(), "tokens were lost or doubled");
  if (outcome.error) std::rethrow_exception(outcome.error);
  if (failed_rank >= 0) {
    throw ClusterError(failed_rank, "a visit failed on rank " + std::to_string(failed_rank) + ": " + failure);
  }
  return result;
}

}  // namespace steppe
