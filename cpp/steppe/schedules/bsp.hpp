#pragma once

#include <utility>
#include <vector>

#include "steppe/schedules/drain.hpp"
#include "steppe/schedules/rank_state.hpp"
#include "steppe/schedules/ring_mail.hpp"
#include "steppe/schedules/shard_work.hpp"
#include "steppe/schedules/visit.hpp"

namespace steppe {

// DSGD (Gemulla et al., KDD 2011): S shards, S packets, S sub-epochs a round. In each sub-epoch every shard visits the
// packet it holds; between two of them all packets move one shard down. Training leaves them where a round ends and
// goes on from there, which saves one transfer in S; any other pass takes them back to where it met them, since it must
// leave no trace. The result depends on the seed and on the number of shards, not on threads or ranks. With one shard
// it is the serial schedule, run inline.
template <TokenProblem P>
class BspRun {
  using PacketPtr = Packet<typename P::Row>*;

 public:
  BspRun(RankState<P>& state, const RunSpec& spec, Control& control)
      : state_(state), spec_(spec), mail_(state.link, state.run, control, halt_), pacer_(mail_),
        work_(state, pacer_, halt_), held_(state.n_local()) {
    outcome_.shards.resize(state.n_local());
  }

  RunOutcome operator()() {
    seat();
    for (std::uint32_t round = 0; round < spec_.rounds; ++round) {
      for (std::uint32_t step = 1; step <= state_.n_shards(); ++step) {
        work_.for_each_shard([&](std::uint32_t l, auto& halted) { visit(l, round, halted); });
        if (step < state_.n_shards() || !spec_.training) shift();
        sum_globals();
      }
      work_.for_each_shard([&](std::uint32_t l, auto&) { end_round(l, round); });
      if (agree_to_leave()) break;
    }
    leave_seats();
    return std::move(outcome_);
  }

 private:
  void seat() {
    for (PacketPtr packet : state_.parked) {
      packet->header.sequence = packet->header.round = 0;
      held_[state_.seat_of_packet(packet->header.id) - state_.first_shard()] = packet;
    }
    state_.parked.clear();
  }

  void leave_seats() {
    for (PacketPtr packet : held_) {
      if (packet != nullptr) state_.parked.push_back(packet);
    }
  }

  template <class Halted>
  void visit(std::uint32_t l, std::uint32_t round, Halted& halted) {
    if (held_[l] == nullptr) return;
    auto& packet = *held_[l];
    packet.header.round = round;
    state_.note(l, EventKind::visit, packet.header);
    ++packet.header.sequence;
    outcome_.shards[l] += visit_packet(state_.problem, state_.shards[l], packet, state_.context(l, spec_, round),
                                       state_.visit_order[l], halted);
  }

  void end_round(std::uint32_t l, std::uint32_t round) {
    state_.note(l, EventKind::end_round, round);
    state_.problem.end_round(state_.shards[l], state_.context(l, spec_, round));
  }

  // Every packet moves to the shard below; the packet of this rank's first shard crosses to the previous rank.
  void shift() {
    PacketPtr leaving = held_.front();
    std::move(held_.begin() + 1, held_.end(), held_.begin());
    held_.back() = state_.link.size() == 1 ? leaving : exchange(leaving);
    state_.rotation = (state_.rotation + 1) % state_.n_shards();
  }

  // Where there is no packet an empty frame says so; else one with its head, and one with its rows as they are.
  PacketPtr exchange(PacketPtr leaving) {
    Bytes head = open_frame({state_.run});
    if (leaving == nullptr) {
      mail_.send_down(std::move(head));
    } else {
      WireWriter writer(head);
      pack_head(*leaving, writer);
      mail_.send_down(std::move(head));
      mail_.send_down(leaving->rows.release());
      state_.pool.release(leaving);
    }

    const auto idle = [this] { work_.poll(); };
    const Bytes arrived = mail_.take_from_above(idle);
    WireReader reader(arrived);
    read_header(reader, state_.run);
    if (reader.empty()) return nullptr;
    PacketPtr packet = state_.pool.acquire();
    unpack_head(*packet, reader, 0);
    packet->rows.adopt(mail_.take_from_above(idle));
    invariant(packet->rows.size() == packet->ids.size() * state_.problem.row_size(), "a packet came without its rows");
    return packet;
  }

  // Not before all ranks are there: a collective call knows no signs of life.
  void sum_globals() {
    if (state_.globals.size() == 0) return;
    mail_.meet(false, [this] { work_.poll(); });
    for (std::uint32_t l = 0; l < state_.n_local(); ++l) state_.note(l, EventKind::sum_globals);
    state_.globals.sum(state_.link, std::nullopt);
  }

  bool agree_to_leave() {
    work_.conclude(outcome_);
    return mail_.meet(outcome_.status != RunStatus::ok, [this] { work_.poll(); });
  }

  RankState<P>& state_;
  RunSpec spec_;
  HaltFlag halt_;
  RingMail mail_;
  Pacer pacer_;
  ShardWork<P> work_;
  std::vector<PacketPtr> held_;
  RunOutcome outcome_;
};

}  // namespace steppe
