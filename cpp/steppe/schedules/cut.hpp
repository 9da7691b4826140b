#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "steppe/core/array_map.hpp"
#include "steppe/schedules/rank_state.hpp"

namespace steppe {

// What is read from a rank's parked packets between runs.

// Adds of_shard(shard) over shards and of_token(token) over tokens. Each shard and each packet gives one number; they
// are added in the order of shards and packets, so the sum has the same bits for every layout of the same shards.
template <TokenProblem P, class OfShard, class OfToken>
double sum_parts(RankState<P>& state, OfShard&& of_shard, OfToken&& of_token) {
  struct Part {
    std::uint32_t packet;
    double value;
  };
  const auto of_packet = [&](Packet<typename P::Row>& packet) {
    const auto bundle = packet.bundle(state.problem.row_size());
    double value = 0;
    for (std::size_t i = 0; i < bundle.size(); ++i) {
      value += of_token(TokenView<const typename P::Row>{bundle.id(i), bundle[i].row});
    }
    return Part{packet.header.id, value};
  };
  std::vector<Part> parts(state.parked.size());
  std::vector<double> of_shards(state.shards.size());
  state.team.parallel_for(parts.size() + of_shards.size(), 1, [&](std::size_t begin, std::size_t end, std::uint32_t) {
    for (std::size_t i = begin; i < end; ++i) {
      if (i < parts.size()) {
        parts[i] = of_packet(*state.parked[i]);
      } else {
        of_shards[i - parts.size()] = static_cast<double>(of_shard(state.shards[i - parts.size()]));
      }
    }
  });
  Bytes mine;
  WireWriter writer(mine);
  writer.put(std::span<const double>(of_shards));
  writer.put(std::span<const Part>(parts));

  double sum = 0;
  std::vector<Part> all_parts;
  const auto all = state.link.allgather(std::move(mine));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    WireReader reader(all[rank]);
    for (auto s = state.first_shard_of[rank]; s < state.first_shard_of[rank + 1]; ++s) sum += reader.get<double>();
    while (!reader.empty()) all_parts.push_back(reader.get<Part>());
  }
  std::ranges::sort(all_parts, {}, &Part::packet);
  for (const Part& part : all_parts) sum += part.value;
  return sum;
}

template <TokenProblem P>
double local_parts(RankState<P>& state) {
  return sum_parts(
      state, [&](const auto& shard) { return state.problem.shard_objective(shard); },
      [&](auto token) { return state.problem.token_objective(token); });
}

// In slices, so that no rank holds more than one slice of each other rank beside the result.
template <TokenProblem P>
void gather_rows(RankState<P>& state, std::span<typename P::Row> rows, bool release) {
  using Row = typename P::Row;
  constexpr std::size_t kSliceBytes = 32 << 20;
  const std::size_t row_size = state.problem.row_size();
  invariant(rows.size() == row_size * state.problem.n_tokens(), "gather() needs room for all rows");
  const auto place = [&](std::uint32_t id) { return rows.subspan(id * row_size, row_size); };

  std::size_t next = 0;
  for (bool more = true; more;) {
    Bytes mine;
    WireWriter writer(mine);
    for (; next < state.parked.size() && mine.size() < kSliceBytes; ++next) {
      auto& packet = *state.parked[next];
      const auto bundle = packet.bundle(state.problem.row_size());
      for (std::size_t i = 0; i < bundle.size(); ++i) {
        std::ranges::copy(bundle[i].row, place(bundle.id(i)).begin());
        if (state.link.size() == 1) continue;
        writer.put(bundle.id(i));
        writer.put(std::span<const Row>(bundle[i].row));
      }
      if (release) packet.rows.release();
    }
    const bool mine_left = next < state.parked.size();
    more = false;
    const auto all = state.link.size() > 1 ? state.link.allgather(std::move(mine)) : std::vector<Bytes>{};
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
      more = more || !all[rank].empty();
      if (rank == state.link.rank()) continue;
      for (WireReader reader(all[rank]); !reader.empty();) reader.get(place(reader.get<std::uint32_t>()));
    }
    more = more || mine_left;
  }
}

// This rank's part of a consistent state: its packets as they are parked, the globals, the round and its shards.
template <TokenProblem P>
ArrayMap make_cut(const RankState<P>& state) {
  using Row = typename P::Row;
  std::vector<std::uint32_t> packets, ids;
  std::vector<Row> rows;
  for (const auto* packet : state.parked) {
    packets.insert(packets.end(), {packet->header.id, packet->header.n_tokens});
    ids.insert(ids.end(), packet->ids.begin(), packet->ids.end());
    rows.insert(rows.end(), packet->rows.begin(), packet->rows.end());
  }
  ArrayMap cut;
  cut["packets"] = Array::copy_of(std::span<const std::uint32_t>(packets), {packets.size() / 2, 2});
  cut["token_ids"] = Array::copy_of(std::span<const std::uint32_t>(ids));
  cut["token_rows"] = Array::copy_of(std::span<const Row>(rows), {ids.size(), state.problem.row_size()});
  cut["globals"] = Array::copy_of(std::span<const double>(state.globals.agreed()));
  cut["training_round"] = Array::scalar(state.training_round);
  cut["deal_round"] = Array::scalar(state.deal_round);
  cut["rotation"] = Array::scalar(state.rotation);
  cut["first_shard_of"] = Array::copy_of(std::span<const std::uint32_t>(state.first_shard_of));
  for (std::size_t l = 0; l < state.shards.size(); ++l) {
    P::state(state.shards[l], [&](const char* name, auto&& array) {
      const std::span values(array);
      using T = std::remove_const_t<typename decltype(values)::element_type>;
      cut["shard" + std::to_string(l) + "." + name] = Array::copy_of(std::span<const T>(values));
    });
  }
  return cut;
}

}  // namespace steppe
