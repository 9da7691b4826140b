#pragma once

#include <memory>

#include "cuda/check.hpp"

namespace steppe::cuda {

class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { cudaEventDestroy(event_); }
  cudaEvent_t get() const noexcept { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

// Work in order, beside that of other streams; the default stream is not waited for.
class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { cudaStreamDestroy(stream_); }
  cudaStream_t get() const noexcept { return stream_; }

  void wait() const { check(cudaStreamSynchronize(stream_), "waiting for the device"); }
  // What is given to this stream from here on starts after all that `other` has been given.
  void wait_for(cudaStream_t other) const {
    const Event reached;
    check(cudaEventRecord(reached.get(), other), "recording an event");
    check(cudaStreamWaitEvent(stream_, reached.get()), "waiting for an event");
  }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace steppe::cuda
