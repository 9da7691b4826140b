#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

// What callers outside cuda/ see of the device: no header of CUDA.
namespace steppe::cuda {

// Why nothing can run here, empty if it can: no driver, a driver older than the runtime that was linked, no device, a
// device older than the kernels.
std::string why_unusable();

struct DeviceFacts {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::size_t memory = 0;       // bytes
  int driver = 0, runtime = 0;  // 1000 major + 10 minor
};
DeviceFacts device_facts();

// The device that calls of this thread use, and the one whose memory that is; -1 for memory of the host.
int current_device();
int device_of(const void* pointer);

// Memory of the device, not initialised.
class DeviceMemory {
 public:
  explicit DeviceMemory(std::size_t bytes);
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory();
  void* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

void copy_to_device(void* device, const void* host, std::size_t bytes);
void copy_to_host(void* host, const void* device, std::size_t bytes);
// Returns when all work given to that stream so far is done; 1 and 2 are the legacy and the per-thread default stream.
void wait_for_stream(std::uintptr_t stream);

}  // namespace steppe::cuda
