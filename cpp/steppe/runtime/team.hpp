#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "steppe/runtime/control.hpp"

namespace steppe {

// Threads that live as long as the fit and take one job after the other. The calling thread stays outside: it polls,
// communicates, and waits. A job runs once on every member; the first exception is kept and rethrown by wait().
class Team {
 public:
  using Job = std::function<void(std::uint32_t member)>;

  explicit Team(std::uint32_t size);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  std::uint32_t size() const noexcept { return size_; }

  // Runs the job on every member and returns when all are done. A team of one runs it inline, on the calling thread.
  void run(const Job& job);
  // The same, and polls meanwhile; true if a stop was asked for. The job has to notice by itself.
  bool run(const Job& job, Control& control, const std::function<void()>& on_stop);

  // The two halves of run(), for a calling thread that has work of its own. Always on threads, even for a team of one.
  // The job must outlive the run; wait() ends it and rethrows the first exception.
  void start(const Job& job);
  bool wait_for(std::chrono::microseconds time);  // true once every member is done
  void wait();

  // Calls body(begin, end, member) on disjoint pieces of 0..n-1 of about `grain` each, whoever is free taking the next.
  template <class Body>
  void parallel_for(std::size_t n, std::size_t grain, Body&& body);

 private:
  void spawn();
  void work(const std::stop_token& stop, std::uint32_t member);
  void keep_exception() noexcept;
  void rethrow_first();

  std::uint32_t size_;
  std::mutex mutex_;
  std::condition_variable_any job_posted_;
  std::condition_variable job_done_;
  const Job* job_ = nullptr;
  std::uint64_t generation_ = 0;
  std::uint32_t busy_ = 0;
  std::exception_ptr first_exception_;
  std::vector<std::jthread> threads_;  // last: they use all of the above
};

template <class Body>
void Team::parallel_for(std::size_t n, std::size_t grain, Body&& body) {
  grain = std::max<std::size_t>(grain, 1);
  if (size_ == 1 || n <= grain) {
    if (n > 0) body(std::size_t{0}, n, std::uint32_t{0});
    return;
  }
  std::atomic<std::size_t> next{0};
  run([&](std::uint32_t member) {
    for (;;) {
      const std::size_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      body(begin, std::min(begin + grain, n), member);
    }
  });
}

}  // namespace steppe
