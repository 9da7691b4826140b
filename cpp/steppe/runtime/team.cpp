#include "steppe/runtime/team.hpp"

#include <utility>

#include "steppe/core/errors.hpp"

namespace steppe {

Team::Team(std::uint32_t size) : size_(size) { require(size > 0, "n_threads must be at least 1"); }

Team::~Team() {
  for (auto& thread : threads_) thread.request_stop();
  job_posted_.notify_all();
}

// Threads are made at the first need: a serial fit creates none.
void Team::spawn(std::uint32_t first) {
  while (threads_.size() < size_ - first) {
    const auto member = static_cast<std::uint32_t>(size_ - 1 - threads_.size());
    threads_.emplace_back([this, member](const std::stop_token& stop) { work(stop, member); });
  }
}

void Team::post(const Job& job, std::uint32_t first) {
  spawn(first);
  {
    const std::lock_guard lock(mutex_);
    invariant(busy_ == 0, "a team was given a job while it was busy");
    job_ = &job;
    first_ = first;
    busy_ = size_ - first;
    ++generation_;
  }
  job_posted_.notify_all();
}

bool Team::wait_for(std::chrono::microseconds time) {
  std::unique_lock lock(mutex_);
  return job_done_.wait_for(lock, time, [this] { return busy_ == 0; });
}

void Team::wait() {
  {
    std::unique_lock lock(mutex_);
    job_done_.wait(lock, [this] { return busy_ == 0; });
  }
  rethrow_first();
}

void Team::run_as_first(const Job& job) noexcept {
  try {
    job(0);
  } catch (...) {
    keep_exception();
  }
}

void Team::run(const Job& job) {
  post(job, 1);
  run_as_first(job);
  wait();
}

void Team::run_polling(const Job& job, Pacer& pacer, const std::function<void()>& on_stop) {
  post(job, 1);
  run_as_first(job);
  wait_polling([&] { return pacer.stop_requested(); }, on_stop);
}

bool Team::run(const Job& job, Control& control, const std::function<void()>& on_stop) {
  post(job, 0);
  return wait_polling([&] { return control.poll(); }, on_stop);
}

// Whatever poll() does, nobody leaves while members are at the job: it lives on the caller's stack.
bool Team::wait_polling(const std::function<bool()>& poll, const std::function<void()>& on_stop) {
  bool stopped = false;
  std::exception_ptr failed;
  while (!wait_for(kPollPeriod)) {
    if (stopped) continue;
    try {
      stopped = poll();
    } catch (...) {
      failed = std::current_exception();
      stopped = true;
    }
    if (stopped) on_stop();
  }
  rethrow_first();
  if (failed) std::rethrow_exception(failed);
  return stopped;
}

void Team::work(const std::stop_token& stop, std::uint32_t member) {
  std::uint64_t seen = 0;
  for (;;) {
    const Job* job = nullptr;
    {
      std::unique_lock lock(mutex_);
      if (!job_posted_.wait(lock, stop, [&] { return member >= first_ && generation_ != seen; })) return;
      seen = generation_;
      job = job_;
    }
    try {
      (*job)(member);
    } catch (...) {
      keep_exception();
    }
    const std::lock_guard lock(mutex_);
    if (--busy_ == 0) job_done_.notify_all();
  }
}

void Team::keep_exception() noexcept {
  const std::lock_guard lock(mutex_);
  if (!first_exception_) first_exception_ = std::current_exception();
}

void Team::rethrow_first() {
  std::exception_ptr first;
  {
    const std::lock_guard lock(mutex_);
    first = std::exchange(first_exception_, nullptr);
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace steppe
