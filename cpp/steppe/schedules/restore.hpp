#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "steppe/core/array_map.hpp"
#include "steppe/schedules/table.hpp"

namespace steppe {

// Puts a rank back to where make_cut() found it. A cut comes from a file, so nothing in it is believed: what does not
// fit this fit is an InvalidArgument.

// The parked packets of a cut: (id, number of tokens) of each, and the ids and rows of all their tokens.
template <class Row>
struct CutPackets {
  std::span<const std::uint32_t> packets, ids;
  std::span<const Row> rows;
};

// Whether each is a packet of the deal with just its tokens, is there once, and may be parked on this rank.
template <TokenProblem P>
bool may_park(const RankState<P>& state, CutPackets<typename P::Row> cut) {
  if (cut.packets.size() % 2 != 0 || cut.rows.size() != cut.ids.size() * state.problem.row_size()) return false;
  std::vector<std::uint8_t> seen(state.deal.n_packets(), 0);
  for (std::size_t p = 0; p < cut.packets.size(); p += 2) {
    const std::uint32_t id = cut.packets[p];
    if (id >= state.deal.n_packets() || seen[id]++ != 0) return false;
    if (is_ring(state) && home_of_packet(state, id) != state.link.rank()) return false;
    const auto tokens = state.deal.packet(id);
    if (cut.packets[p + 1] != tokens.size() || cut.ids.size() < tokens.size()) return false;
    if (!std::ranges::equal(tokens, cut.ids.first(tokens.size()))) return false;
    cut.ids = cut.ids.subspan(tokens.size());
  }
  return cut.ids.empty();
}

template <TokenProblem P>
void restore_shards(RankState<P>& state, const ArrayMap& cut) {
  for (std::size_t l = 0; l < state.shards.size(); ++l) {
    P::state(state.shards[l], [&](const char* name, auto&& array) {
      const std::string key = "shard" + std::to_string(l) + "." + name;
      if constexpr (requires { array.resize(std::size_t{}); }) {
        using T = typename std::remove_cvref_t<decltype(array)>::value_type;
        array.resize(at(cut, key).template as<T>().size());
      }
      copy_at(cut, key, std::span(array));
    });
  }
}

template <TokenProblem P>
void restore_packets(RankState<P>& state, const ArrayMap& cut) {
  using Row = typename P::Row;
  CutPackets<Row> from{at(cut, "packets").template as<std::uint32_t>(),
                       at(cut, "token_ids").template as<std::uint32_t>(), at(cut, "token_rows").template as<Row>()};
  require(may_park(state, from),
          "state: it holds other packets than this fit; resume with the data, parameters and schedule it was written "
          "under");
  for (auto* packet : std::exchange(state.parked, {})) state.pool.release(packet);
  for (std::size_t p = 0; p < from.packets.size(); p += 2) {
    auto* packet = new_packet(state, from.packets[p]);
    std::ranges::copy(from.rows.first(packet->rows.size()), std::span(packet->rows).begin());
    from.rows = from.rows.subspan(packet->rows.size());
    state.parked.push_back(packet);
  }
}

template <TokenProblem P>
void restore_cut(RankState<P>& state, const ArrayMap& cut) {
  std::vector<std::uint32_t> layout(state.first_shard_of.size());
  copy_at(cut, "first_shard_of", std::span(layout));
  require(layout == state.first_shard_of, "state: it was written by another layout of shards over ranks");
  restore_shards(state, cut);
  std::vector<double> globals(state.globals.size());
  copy_at(cut, "globals", std::span(globals));
  state.globals.restart(globals);
  state.training_round = scalar_at<std::uint32_t>(cut, "training_round");
  state.rotation = scalar_at<std::uint32_t>(cut, "rotation") % state.n_shards();
  deal_for(state, scalar_at<std::uint32_t>(cut, "deal_round"));
  restore_packets(state, cut);
}

}  // namespace steppe
