#include "steppe/models/ranking/query_census.hpp"

#include <algorithm>

#include "steppe/comm/wire.hpp"
#include "steppe/core/rng.hpp"

namespace steppe {

double QueryCensus::mean(std::span<const double> values, Link& link) const {
  Bytes mine;
  WireWriter(mine).put(values);
  const std::vector<Bytes> parts = link.allgather(std::move(mine));
  std::vector<WireReader> readers(parts.begin(), parts.end());
  double sum = 0, weight = 0;
  for (const QueryEntry& entry : all) {
    sum += entry.weight * readers[entry.rank].get<double>();
    weight += entry.weight;
  }
  return weight > 0 ? sum / weight : 0;
}

template <class T>
QueryCensus take_census(const RankedQueries<T>& queries, std::span<const std::uint32_t> lower, Link& link) {
  QueryCensus census;
  Bytes mine;
  for (std::size_t q = 0; q < queries.size(); ++q) {
    double weight = 0, relevant = 0;
    for (std::size_t i = queries.begin(q); i < queries.end(q); ++i) {
      if (lower[i] == 0) continue;
      weight += queries.weight[i];
      relevant += 1;
    }
    if (weight <= 0) continue;
    WireWriter(mine).put(QueryEntry{static_cast<std::uint64_t>(queries.number[q]), link.rank(),
                                    static_cast<std::uint32_t>(q), queries.end(q) - queries.begin(q),
                                    weight / relevant});
    census.own.push_back(static_cast<std::uint32_t>(q));
  }
  for (const Bytes& part : link.allgather(std::move(mine))) {
    WireReader reader(part);
    while (!reader.empty()) census.all.push_back(reader.get<QueryEntry>());
  }
  std::sort(census.all.begin(), census.all.end(),
            [](const QueryEntry& a, const QueryEntry& b) { return a.number < b.number; });
  return census;
}

SplitCensus hold_out(const QueryCensus& census, double fraction, std::uint64_t seed, std::uint32_t rank) {
  SplitCensus split;
  for (const QueryEntry& entry : census.all) {
    const bool out = Stream(seed, Purpose::deal, entry.number).uniform() < fraction;
    QueryCensus& side = out ? split.held_out : split.train;
    side.all.push_back(entry);
    if (entry.rank == rank) side.own.push_back(entry.index);
  }
  return split;
}

template QueryCensus take_census(const RankedQueries<float>&, std::span<const std::uint32_t>, Link&);
template QueryCensus take_census(const RankedQueries<double>&, std::span<const std::uint32_t>, Link&);

}  // namespace steppe
