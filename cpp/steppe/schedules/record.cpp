#include "steppe/schedules/record.hpp"

#include "steppe/comm/wire.hpp"

namespace steppe {

Record gather_record(Link& link, const Record& mine) {
  Bytes bytes;
  WireWriter writer(bytes);
  writer.put(mine.shards.size());
  for (const auto& events : mine.shards) {
    writer.put(events.size());
    writer.put(std::span<const Event>(events));
  }
  Record whole{mine.runs, {}};
  for (const Bytes& part : link.allgather(std::move(bytes))) {
    WireReader reader(part);
    for (auto left = reader.get<std::size_t>(); left > 0; --left) {
      auto& events = whole.shards.emplace_back(reader.get<std::size_t>());
      reader.get(std::span(events));
    }
  }
  return whole;
}

}  // namespace steppe
