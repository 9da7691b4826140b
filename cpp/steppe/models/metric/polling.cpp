#include "steppe/models/metric/polling.hpp"

#include <unistd.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace steppe {
namespace {

struct Apart {
  std::function<void()> job;
  std::mutex mutex;
  std::condition_variable ended;
  bool done = false;
  std::exception_ptr exception;

  void run() {
    std::exception_ptr met;
    try {
      job();
    } catch (...) {
      met = std::current_exception();
    }
    job = nullptr;
    const std::lock_guard lock(mutex);
    exception = met;
    done = true;
    ended.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex);
    return ended.wait_for(lock, kPollPeriod, [this] { return done; });
  }
};

// Threads whose callers have left. None may run on while the process takes the BLAS down.
class Deserted {
 public:
  Deserted() = default;
  Deserted(const Deserted&) = delete;
  Deserted& operator=(const Deserted&) = delete;
  ~Deserted() {
    if (::getpid() != process_) {  // a fork: they run in the parent only
      for (std::thread& thread : threads_) thread.detach();
      return;
    }
    for (std::thread& thread : threads_) thread.join();
  }
  void add(std::thread thread) {
    const std::lock_guard lock(mutex_);
    threads_.push_back(std::move(thread));
  }

 private:
  std::mutex mutex_;
  ::pid_t process_ = ::getpid();
  std::vector<std::thread> threads_;
};

void desert(std::thread thread) {
  static Deserted threads;
  threads.add(std::move(thread));
}

}  // namespace

bool run_apart(std::function<void()> job, Pacer& pacer) {
  const auto apart = std::make_shared<Apart>();
  apart->job = std::move(job);
  std::thread thread([apart] { apart->run(); });
  while (!apart->wait()) {
    bool stop = true;
    try {
      stop = pacer.stop_requested();
    } catch (...) {
      desert(std::move(thread));
      throw;
    }
    if (stop) {
      desert(std::move(thread));
      return false;
    }
  }
  thread.join();
  if (apart->exception) std::rethrow_exception(apart->exception);
  return true;
}

}  // namespace steppe
