#pragma once

#include "cuda/check.hpp"

namespace steppe::cuda {

// Work in order, beside that of other streams; the default stream is not waited for. Made after the memory it works on,
// so that it is gone, and its work done, before that memory is freed.
class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  cudaStream_t get() const noexcept { return stream_; }

  void wait() const { check(cudaStreamSynchronize(stream_), "waiting for the device"); }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace steppe::cuda
