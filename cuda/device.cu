#include "cuda/device.hpp"

#include "cuda/check.hpp"

namespace steppe::cuda {
namespace {

constexpr int kOldestMajor = 8;  // tensor cores with TF32, and what the code is compiled for

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

}  // namespace

std::string why_unusable() {
  int driver = 0, runtime = 0, devices = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  if (driver == 0) return "no NVIDIA driver is installed (libcuda.so.1 was not found)";
  const cudaError_t status = cudaGetDeviceCount(&devices);
  cudaGetLastError();
  if (status == cudaErrorInsufficientDriver) {
    return "the NVIDIA driver is too old: it serves CUDA " + version(driver) + ", and this build needs " +
           version(runtime) + " or newer";
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && devices == 0)) {
    return "the NVIDIA driver sees no device (is CUDA_VISIBLE_DEVICES empty?)";
  }
  if (status != cudaSuccess) return std::string("the NVIDIA driver does not start: ") + cudaGetErrorString(status);
  const DeviceFacts facts = device_facts();
  if (facts.major < kOldestMajor) {
    return facts.name + " has compute capability " + std::to_string(facts.major) + "." + std::to_string(facts.minor) +
           ", and this build needs 8.0 or newer";
  }
  return {};
}

DeviceFacts device_facts() {
  const int device = current_device();
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device), "asking for the device's properties");
  DeviceFacts facts{.name = properties.name,
                    .major = properties.major,
                    .minor = properties.minor,
                    .multiprocessors = properties.multiProcessorCount,
                    .memory = properties.totalGlobalMem};
  cudaDriverGetVersion(&facts.driver);
  cudaRuntimeGetVersion(&facts.runtime);
  return facts;
}

int current_device() {
  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  return device;
}

int device_of(const void* pointer) {
  cudaPointerAttributes attributes{};
  check(cudaPointerGetAttributes(&attributes, pointer), "asking where an array is");
  return attributes.devicePointer == nullptr || attributes.type == cudaMemoryTypeHost ? -1 : attributes.device;
}

DeviceMemory::DeviceMemory(std::size_t bytes) : bytes_(bytes) {
  if (bytes > 0) check(cudaMalloc(&data_, bytes), "allocating memory");
}

DeviceMemory::~DeviceMemory() { cudaFree(data_); }

void copy_to_device(void* device, const void* host, std::size_t bytes) {
  check(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice), "copying to the device");
}

void copy_to_host(void* host, const void* device, std::size_t bytes) {
  check(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost), "copying to the host");
}

void wait_for_stream(std::uintptr_t stream) {
  check(cudaStreamSynchronize(reinterpret_cast<cudaStream_t>(stream)), "waiting for the array's stream");
}

}  // namespace steppe::cuda
