#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "cuda/check.hpp"

namespace steppe::cuda {

// Owns memory of the device. It holds whatever was there before; the elements are plain numbers.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::size_t size) : size_(size) {
    if (size > 0) check(cudaMalloc(reinterpret_cast<void**>(&data_), size * sizeof(T)), "allocating memory");
  }
  explicit DeviceBuffer(std::span<const T> host, cudaStream_t stream = nullptr) : DeviceBuffer(host.size()) {
    upload(host, stream);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceBuffer() { cudaFree(data_); }

  T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

  // Pageable memory of the host has been read when this returns.
  void upload(std::span<const T> host, cudaStream_t stream) {
    check(cudaMemcpyAsync(data_, host.data(), host.size_bytes(), cudaMemcpyHostToDevice, stream),
          "copying to the device");
  }
  // Waits for the stream.
  void download(std::span<T> host, cudaStream_t stream) const {
    check(cudaMemcpyAsync(host.data(), data_, host.size_bytes(), cudaMemcpyDeviceToHost, stream),
          "copying to the host");
    check(cudaStreamSynchronize(stream), "waiting for the device");
  }
  void fill_with_zeros(cudaStream_t stream) {
    if (size_ > 0) check(cudaMemsetAsync(data_, 0, size_ * sizeof(T), stream), "filling with zeros");
  }
  // At least that many elements; what was there is lost if it must grow.
  void reserve(std::size_t size) {
    if (size <= size_) return;
    *this = DeviceBuffer();
    *this = DeviceBuffer(size);
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace steppe::cuda
