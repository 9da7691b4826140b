#include "steppe/runtime/device.hpp"

#include <atomic>

#include "steppe/core/errors.hpp"

namespace steppe {
namespace {

std::atomic<const DeviceKernels*> loaded{nullptr};

const DeviceKernels& required_kernels() {
  const DeviceKernels* const kernels = device_kernels();
  require(kernels != nullptr, "device: no device's kernels are loaded; use device='cpu'");
  return *kernels;
}

}  // namespace

void set_device_kernels(const DeviceKernels* kernels) noexcept { loaded.store(kernels); }

const DeviceKernels* device_kernels() noexcept { return loaded.load(); }

std::unique_ptr<DeviceRows<float>> upload_rows(MatrixView<const float> x, const float* weights) {
  return required_kernels().upload_float(x, weights);
}

std::unique_ptr<DeviceRows<double>> upload_rows(MatrixView<const double> x, const double* weights) {
  return required_kernels().upload_double(x, weights);
}

}  // namespace steppe
