#pragma once

#include <chrono>

namespace steppe {

// How often whoever waits for workers must look up: bounds the latency of Ctrl-C.
inline constexpr std::chrono::milliseconds kPollPeriod{20};

// The world outside a run, as the calling thread sees it. Only that thread ever calls it: workers never meet the GIL.
class Control {
 public:
  virtual ~Control() = default;
  // True: stop as soon as the visits under way are whole. Called at least every kPollPeriod while a run lasts.
  virtual bool poll() { return false; }
};

// Remembers when poll() is due, so that a loop can ask often at the price of a clock reading.
class Pacer {
 public:
  explicit Pacer(Control& control) : control_(control), due_(Clock::now() + kPollPeriod) {}

  // Polls if it is time to; true once a stop was asked for, and from then on.
  bool stop_requested() {
    if (!stopped_ && Clock::now() >= due_) {
      stopped_ = control_.poll();
      due_ = Clock::now() + kPollPeriod;
    }
    return stopped_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Control& control_;
  Clock::time_point due_;
  bool stopped_ = false;
};

}  // namespace steppe
