#include "steppe/schedules/globals.hpp"

#include "steppe/comm/wire.hpp"

namespace steppe {

Globals::Globals(std::vector<double> start, std::uint32_t n_shards)
    : agreed_(std::move(start)), copies_(n_shards, Copy{agreed_, agreed_}) {}

void Globals::restart(std::span<const double> values) {
  agreed_.assign(values.begin(), values.end());
  for (Copy& copy : copies_) copy = {agreed_, agreed_};
}

void Globals::merge(std::uint32_t shard, std::span<double> travelling) {
  Copy& copy = copies_[shard];
  for (std::size_t i = 0; i < size(); ++i) {
    travelling[i] += copy.working[i] - copy.snapshot[i];
    copy.working[i] = copy.snapshot[i] = travelling[i];
  }
}

std::uint32_t Globals::sum(Link& link, const std::optional<std::vector<double>>& base) {
  if (size() == 0) return 0;
  Bytes mine;
  WireWriter writer(mine);
  writer.put(base.has_value());
  if (base) writer.put(std::span<const double>(*base));
  for (const Copy& copy : copies_) {
    for (std::size_t i = 0; i < size(); ++i) writer.put(copy.working[i] - copy.snapshot[i]);
  }
  const auto all = link.allgather(std::move(mine));
  std::vector<double> total = agreed_;
  std::vector<WireReader> readers;
  std::uint32_t n_bases = 0;
  for (const Bytes& bytes : all) {
    WireReader& reader = readers.emplace_back(bytes);
    if (!reader.get<bool>()) continue;
    reader.get(std::span(total));
    ++n_bases;
  }
  for (WireReader& reader : readers) {
    while (!reader.empty()) {
      for (double& value : total) value += reader.get<double>();
    }
  }
  restart(total);
  return n_bases;
}

}  // namespace steppe
