#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/runtime/control.hpp"
#include "steppe/schedules/frame.hpp"

namespace steppe {

// Notices ranks that have fallen silent. Every frame counts as a sign of life.
class Watch {
 public:
  explicit Watch(const Link& link) : timeout_(link.timeout()), heard_(link.size(), Clock::now()) {}

  void heard(std::uint32_t rank) { heard_[rank] = Clock::now(); }

  void check(std::uint32_t rank, const char* doing) const {
    const std::chrono::duration<double> silence = Clock::now() - heard_[rank];
    if (silence.count() <= timeout_) return;
    throw ClusterError(static_cast<int>(rank), "rank " + std::to_string(rank) + " has been silent for " +
                                                   std::to_string(silence.count()) + " s while this rank was " + doing);
  }

  void check_all(const std::vector<bool>& excused, const char* doing) const {
    for (std::uint32_t rank = 0; rank < heard_.size(); ++rank) {
      if (!excused[rank]) check(rank, doing);
    }
  }

  // How often a rank that has nothing to send should say that it is there.
  std::chrono::steady_clock::duration sign_of_life_period() const {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(std::min(1.0, timeout_ / 4)));
  }

 private:
  using Clock = std::chrono::steady_clock;
  double timeout_;
  std::vector<Clock::time_point> heard_;
};

// Spins briefly, then sleeps: neither latency when the answer is near nor a core burnt when it is far.
class Backoff {
 public:
  void pause() {
    if (++attempts_ < 64) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }
  void reset() { attempts_ = 0; }

 private:
  int attempts_ = 0;
};

// Sends messages[r] to every other rank r and hands each arriving one to take(reader), then a barrier: a fast rank's
// next frames must not mix with these. Collective.
template <class Take>
void exchange_all(Link& link, Control& control, std::uint32_t run, std::vector<Bytes> messages, Take&& take) {
  for (std::uint32_t rank = 0; rank < link.size(); ++rank) {
    if (rank != link.rank()) link.send(rank, std::move(messages[rank]));
  }
  std::vector<bool> arrived(link.size(), false);
  arrived[link.rank()] = true;
  Watch watch(link);
  Backoff backoff;
  Pacer pacer(control);
  for (std::uint32_t missing = 0; missing < link.size();) {
    if (arrived[missing]) {
      ++missing;
    } else if (auto frame = link.try_receive()) {
      arrived[frame->from] = true;
      WireReader reader(frame->bytes);
      read_header(reader, run);
      take(reader);
    } else {
      pacer.stop_requested();
      watch.check(missing, "waiting for its tokens");
      backoff.pause();
    }
  }
  barrier(link);
}

}  // namespace steppe
