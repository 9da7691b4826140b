#include "steppe/models/ranking/local_metric_set.hpp"

#include <algorithm>
#include <atomic>

#include "steppe/comm/wire.hpp"
#include "steppe/core/rng.hpp"

namespace steppe {
namespace {

constexpr std::uint8_t kPartBegins = 1;  // only the part of a rank that has failed is empty
constexpr std::size_t kJudges = 4;       // times as many documents judge an anchor as a metric is learned from

// Queries in an order drawn for metric `number`, as many as are needed.
struct Drawn {
  std::vector<QueryEntry> queries;
  std::size_t n_learn = 0;
};

Drawn draw_queries(const QueryCensus& census, const MetricSetParams& params, std::uint32_t number) {
  Drawn drawn{census.all, 0};
  Stream stream(params.seed, Purpose::data, number);
  shuffle(std::span(drawn.queries), stream);
  std::uint64_t rows = 0;
  std::size_t n = 0;
  for (; n < drawn.queries.size() && rows < kJudges * std::uint64_t{params.sample_size}; ++n) {
    if (rows < params.sample_size) ++drawn.n_learn;
    rows += drawn.queries[n].n_rows;
  }
  drawn.queries.resize(n);
  return drawn;
}

template <class T>
Bytes own_part(const RankedQueries<T>& queries, const Drawn& drawn, std::uint32_t rank) {
  Bytes bytes;
  WireWriter writer(bytes);
  writer.put(kPartBegins);
  for (const QueryEntry& entry : drawn.queries) {
    if (entry.rank != rank) continue;
    const std::size_t begin = queries.begin(entry.index), n = queries.end(entry.index) - begin;
    writer.put(queries.grade.subspan(begin, n));
    writer.put(queries.weight.subspan(begin, n));
    for (std::size_t i = begin; i < begin + n; ++i) writer.put(std::span(queries.row(i), queries.x.cols()));
  }
  return bytes;
}

template <class T>
QueryBlock<T> assemble(const Drawn& drawn, const std::vector<Bytes>& parts, std::size_t n_features) {
  QueryBlock<T> block;
  block.n_features = n_features;
  block.n_learn = drawn.n_learn;
  for (const QueryEntry& entry : drawn.queries) block.begin.push_back(block.begin.back() + entry.n_rows);
  block.grade.resize(block.begin.back());
  block.weight.resize(block.begin.back());
  block.values.resize(block.begin.back() * n_features);
  std::vector<WireReader> readers(parts.begin(), parts.end());
  for (WireReader& reader : readers) reader.get<std::uint8_t>();
  for (std::size_t q = 0; q < drawn.queries.size(); ++q) {
    WireReader& reader = readers[drawn.queries[q].rank];
    const std::size_t begin = block.begin[q], n = block.begin[q + 1] - begin;
    reader.get(std::span(block.grade).subspan(begin, n));
    reader.get(std::span(block.weight).subspan(begin, n));
    reader.get(std::span<T>(block.values).subspan(begin * n_features, n * n_features));
  }
  return block;
}

template <class T>
void write_metric(const LocalMetric<T>& metric, Bytes& bytes) {
  WireWriter writer(bytes);
  writer.put(static_cast<std::uint64_t>(metric.stretch.size()));
  writer.put(metric.scale);
  writer.put(std::span<const T>(metric.anchor));
  writer.put(std::span<const T>(metric.components));
  writer.put(std::span<const T>(metric.basis));
  writer.put(std::span<const T>(metric.stretch));
}

template <class T>
LocalMetric<T> read_metric(WireReader& reader, std::size_t n_features) {
  LocalMetric<T> metric;
  const auto k = reader.get<std::uint64_t>();
  metric.scale = reader.get<T>();
  metric.anchor.resize(n_features);
  metric.components.resize(n_features * n_features);
  metric.basis.resize(k * n_features);
  metric.stretch.resize(k);
  reader.get(std::span<T>(metric.anchor));
  reader.get(std::span<T>(metric.components));
  reader.get(std::span<T>(metric.basis));
  reader.get(std::span<T>(metric.stretch));
  return metric;
}

// Learns those blocks, on all threads; false once a stop was asked for.
template <class T>
bool learn_all(const std::vector<QueryBlock<T>>& blocks, const std::vector<std::uint32_t>& numbers,
               const MetricSetParams& params, Team& team, Control& control, std::vector<LocalMetric<T>>& metrics) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  metrics.resize(blocks.size());
  const auto work = [&](std::uint32_t) {
    for (std::size_t i = next++; i < blocks.size() && !stop; i = next++) {
      metrics[i] = learn_local_metric(blocks[i], params.metric, params.seed, numbers[i]);
    }
  };
  return !team.run(work, control, [&] { stop = true; });
}

}  // namespace

template <class T>
std::vector<LocalMetric<T>> learn_metric_set(const RankedQueries<T>& queries, const QueryCensus& census,
                                             const MetricSetParams& params, Link& link, Team& team, Control& control) {
  // Whatever one rank meets must not keep it from the collective calls that the others wait in.
  std::exception_ptr error;
  const auto unless_failed = [&](auto&& work) {
    try {
      if (!error) work();
    } catch (...) {
      error = std::current_exception();
    }
  };
  std::vector<QueryBlock<T>> blocks;
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t number = 0; number < params.n_metrics; ++number) {
    Drawn drawn;
    Bytes mine;
    unless_failed([&] {
      drawn = draw_queries(census, params, number);
      mine = own_part(queries, drawn, link.rank());
    });
    const std::vector<Bytes> parts = link.allgather(std::move(mine));
    if (number % link.size() != link.rank() || std::ranges::any_of(parts, &Bytes::empty)) continue;
    unless_failed([&] {
      blocks.push_back(assemble<T>(drawn, parts, queries.x.cols()));
      numbers.push_back(number);
    });
  }
  agree_on_error(link, error);
  std::vector<LocalMetric<T>> own, all;
  Bytes mine;
  bool going = true;
  unless_failed([&] {
    going = learn_all(blocks, numbers, params, team, control, own);
    WireWriter(mine).put(static_cast<std::uint8_t>(going));
    for (std::size_t i = 0; going && i < own.size(); ++i) write_metric(own[i], mine);
  });
  agree_on_error(link, error);
  const std::vector<Bytes> parts = link.allgather(std::move(mine));
  std::vector<WireReader> readers(parts.begin(), parts.end());
  for (WireReader& reader : readers) going &= reader.get<std::uint8_t>() != 0;
  for (std::uint32_t number = 0; going && number < params.n_metrics; ++number) {
    all.push_back(read_metric<T>(readers[number % link.size()], queries.x.cols()));
  }
  return all;
}

template std::vector<LocalMetric<float>> learn_metric_set(const RankedQueries<float>&, const QueryCensus&,
                                                          const MetricSetParams&, Link&, Team&, Control&);
template std::vector<LocalMetric<double>> learn_metric_set(const RankedQueries<double>&, const QueryCensus&,
                                                           const MetricSetParams&, Link&, Team&, Control&);

}  // namespace steppe
