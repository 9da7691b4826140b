#pragma once

#include <cstdint>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/schedules/concepts.hpp"
#include "steppe/schedules/deal.hpp"

namespace steppe {

// What a run did, precise enough to be done again on one thread, bit by bit.
enum class EventKind : std::uint8_t {
  visit,
  delta,  // the shard merged its globals with the delta packet
  end_round,
  sum_globals,  // all shards together: everybody restarts from the same globals
};

struct Event {
  std::uint32_t run = 0;
  std::uint32_t packet = 0;
  std::uint32_t sequence = 0;  // of the packet within the run
  std::uint32_t round = 0;     // of the run
  EventKind kind = EventKind::visit;
};

struct RunRecord {
  Pass pass = 0;
  bool training = false;
  bool shared_base = false;          // globals restart from the delta packet's, not from the last agreed ones
  std::uint32_t training_round = 0;  // before the run
  Deal deal;                         // who was in which packet
};

struct Record {
  std::vector<RunRecord> runs;
  std::vector<std::vector<Event>> shards;  // by shard, in the order that shard lived through
};

// Collective: every rank's shards, in their global order.
Record gather_record(Link& link, const Record& mine);

}  // namespace steppe
