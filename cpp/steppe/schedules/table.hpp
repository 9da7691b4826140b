#pragma once

#include <algorithm>

#include "steppe/schedules/rank_state.hpp"
#include "steppe/schedules/wait.hpp"

namespace steppe {

// The tokens of a rank between runs: dealt into packets, moved to where a run starts, gathered by id.

template <TokenProblem P>
bool is_ring(const RankState<P>& state) {
  return state.options.schedule == Schedule::serial || state.options.schedule == Schedule::bsp;
}

// bsp: packet p on the rank of its seat; else round robin over the ranks.
template <TokenProblem P>
std::uint32_t home_of_packet(const RankState<P>& state, std::uint32_t packet) {
  return is_ring(state) ? state.rank_of_shard(state.seat_of_packet(packet)) : packet % state.link.size();
}

// Which tokens travel together in a training round. Keyed by the round, not by a count of runs, so that evaluation in
// between changes nothing, and a resumed fit finds the same packets.
template <TokenProblem P>
void deal_for(RankState<P>& state, std::uint32_t round) {
  const std::uint32_t n_tokens = state.problem.n_tokens();
  const std::uint32_t wanted = is_ring(state) ? state.n_shards() : n_tokens / std::max(1u, state.options.packet_tokens);
  state.deal = {state.options.seed, round, n_tokens, wanted, P::min_bundle};
  state.deal_round = round;
}

// An empty packet with room for the tokens the deal gives it.
template <TokenProblem P>
Packet<typename P::Row>* new_packet(RankState<P>& state, std::uint32_t id) {
  const auto ids = state.deal.packet(id);
  auto* packet = state.pool.acquire();
  packet->header = {};
  packet->header.id = id;
  packet->header.n_tokens = static_cast<std::uint32_t>(ids.size());
  packet->ids.assign(ids.begin(), ids.end());
  // Room for the largest: its memory will serve packets of other deals, too.
  packet->rows.reserve(std::size_t{state.deal.most_tokens()} * state.problem.row_size());
  packet->rows.resize(ids.size() * state.problem.row_size());
  packet->globals.clear();
  return packet;
}

// The first deal: tokens are created where their packet lives, without a message.
template <TokenProblem P>
void create_tokens(RankState<P>& state) {
  deal_for(state, 0);
  for (std::uint32_t p = 0; p < state.deal.n_packets(); ++p) {
    if (home_of_packet(state, p) != state.link.rank()) continue;
    auto* packet = new_packet(state, p);
    const auto bundle = packet->bundle(state.problem.row_size());
    for (std::size_t i = 0; i < bundle.size(); ++i) state.problem.init_token(bundle[i], state.options.seed);
    state.parked.push_back(packet);
  }
}

// Regroups all tokens: one message, possibly empty, to every other rank. Collective.
template <TokenProblem P>
void deal_again(RankState<P>& state, Control& control) {
  using Row = typename P::Row;
  const std::uint32_t row_size = state.problem.row_size();
  deal_for(state, state.training_round);
  state.rotation = 0;
  const std::uint32_t n_tokens = state.problem.n_tokens();
  std::vector<std::uint32_t> packet_of(n_tokens), place_of(n_tokens);
  std::vector<Packet<Row>*> mine(state.deal.n_packets(), nullptr);
  const std::vector<Packet<Row>*> old = std::exchange(state.parked, {});
  for (std::uint32_t p = 0; p < state.deal.n_packets(); ++p) {
    const auto ids = state.deal.packet(p);
    for (std::uint32_t i = 0; i < ids.size(); ++i) {
      packet_of[ids[i]] = p;
      place_of[ids[i]] = i;
    }
    if (home_of_packet(state, p) == state.link.rank()) state.parked.push_back(mine[p] = new_packet(state, p));
  }
  const auto place = [&](std::uint32_t id) {
    return std::span(mine[packet_of[id]]->rows).subspan(std::size_t{place_of[id]} * row_size, row_size);
  };

  std::vector<std::size_t> n_leaving(state.link.size(), 0);
  for (const Packet<Row>* packet : old) {
    for (const std::uint32_t id : packet->ids) ++n_leaving[home_of_packet(state, packet_of[id])];
  }
  std::vector<Bytes> messages(state.link.size(), open_frame({state.run}));
  for (std::uint32_t to = 0; to < state.link.size(); ++to) {
    if (to == state.link.rank()) continue;
    messages[to].reserve(messages[to].size() + n_leaving[to] * (sizeof(std::uint32_t) + row_size * sizeof(Row)));
  }
  for (Packet<Row>* packet : old) {
    const auto bundle = packet->bundle(row_size);
    for (std::size_t i = 0; i < bundle.size(); ++i) {
      const std::uint32_t home = home_of_packet(state, packet_of[bundle.id(i)]);
      if (home == state.link.rank()) {
        std::ranges::copy(bundle[i].row, place(bundle.id(i)).begin());
      } else {
        WireWriter writer(messages[home]);
        writer.put(bundle.id(i));
        writer.put(std::span<const Row>(bundle[i].row));
      }
    }
    state.pool.release(packet);
  }
  exchange_all(state.link, control, state.run, std::move(messages), [&](WireReader& reader) {
    while (!reader.empty()) {
      const auto id = reader.get<std::uint32_t>();
      reader.get(place(id));
    }
  });
}

}  // namespace steppe
