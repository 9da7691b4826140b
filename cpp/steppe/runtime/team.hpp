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

// Threads that live as long as the fit and take one job after the other. A job runs once on every member; the first
// exception is kept and rethrown at its end. The calling thread is member 0, or stays outside where it has to poll and
// to communicate meanwhile. As a member it keeps its core: a thread more than there are cores is often woken on a core
// that is busy, and stays there for milliseconds.
class Team {
 public:
  using Job = std::function<void(std::uint32_t member)>;

  explicit Team(std::uint32_t size);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  std::uint32_t size() const noexcept { return size_; }

  // Runs the job on every member and returns when all are done.
  void run(const Job& job);
  // The same, and polls while others are still at work; member 0 of the job polls by itself.
  void run_polling(const Job& job, Pacer& pacer, const std::function<void()>& on_stop);
  // The calling thread stays outside and polls; true if a stop was asked for. The job has to notice by itself.
  bool run(const Job& job, Control& control, const std::function<void()>& on_stop);

  // For a calling thread outside that has work of its own. The job must outlive the run; wait() ends it and rethrows
  // the first exception.
  void start(const Job& job) { post(job, 0); }
  bool wait_for(std::chrono::microseconds time);  // true once every member is done
  void wait();

  // Calls body(begin, end, member) on disjoint pieces of 0..n-1 of about `grain` each, whoever is free taking the next.
  template <class Body>
  void parallel_for(std::size_t n, std::size_t grain, Body&& body);
  // The same, polling between pieces; true if a stop was asked for: pieces that had not begun are then left out.
  template <class Body>
  bool parallel_for(std::size_t n, std::size_t grain, Pacer& pacer, Body&& body);

 private:
  void spawn(std::uint32_t first);
  void post(const Job& job, std::uint32_t first);
  void run_as_first(const Job& job) noexcept;
  bool wait_polling(const std::function<bool()>& poll, const std::function<void()>& on_stop);
  void work(const std::stop_token& stop, std::uint32_t member);
  void keep_exception() noexcept;
  void rethrow_first();

  std::uint32_t size_;
  std::mutex mutex_;
  std::condition_variable_any job_posted_;
  std::condition_variable job_done_;
  const Job* job_ = nullptr;
  std::uint32_t first_ = 0;  // member that takes part in the job as a thread
  std::uint64_t generation_ = 0;
  std::uint32_t busy_ = 0;
  std::exception_ptr first_exception_;
  std::vector<std::jthread> threads_;  // from the last member down; they use all of the above
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

template <class Body>
bool Team::parallel_for(std::size_t n, std::size_t grain, Pacer& pacer, Body&& body) {
  grain = std::max<std::size_t>(grain, 1);
  std::atomic<std::size_t> next{0};
  std::atomic<bool> halt{pacer.stop_requested()};
  const auto work = [&](std::uint32_t member) {
    while (!halt.load(std::memory_order_relaxed)) {
      const std::size_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      body(begin, std::min(begin + grain, n), member);
      if (member == 0 && pacer.stop_requested()) halt = true;
    }
  };
  if (size_ == 1 || n <= grain) {
    work(0);
  } else {
    run_polling(work, pacer, [&] { halt = true; });
  }
  return halt;
}

}  // namespace steppe
