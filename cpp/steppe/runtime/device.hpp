#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "steppe/core/views.hpp"
#include "steppe/kernels/cells.hpp"

namespace steppe {

// Rows of one rank on a device, for as long as a fit lasts: they travel once, sites and sums at each call. The methods
// are those of kernels/cells.hpp over rows 0, stride, 2 stride, ...; one thread at a time calls them.
template <class T>
class DeviceRows {
 public:
  virtual ~DeviceRows() = default;
  virtual void assign(const kernels::SitesView<T>& sites, std::size_t stride, std::span<std::int32_t> labels) = 0;
  // Fills mass, score and log_sum; moments are left to the CPU.
  virtual void spread(const kernels::SitesView<T>& sites, std::size_t stride, T steepness,
                      kernels::SpreadSums& sums) = 0;
};

// What a device offers. Weights may be null for ones; all pointers are the host's and may be freed after the call.
struct DeviceKernels {
  std::unique_ptr<DeviceRows<float>> (*upload_float)(MatrixView<const float> x, const float* weights) = nullptr;
  std::unique_ptr<DeviceRows<double>> (*upload_double)(MatrixView<const double> x, const double* weights) = nullptr;
};

// Name of the capsule that carries the table: it changes with the table's layout.
inline constexpr const char* kDeviceKernelsName = "steppe.DeviceKernels.1";

// The module of the device hands its table over when it loads; null where none has. The table lives as long as the
// process.
void set_device_kernels(const DeviceKernels* kernels) noexcept;
const DeviceKernels* device_kernels() noexcept;

// Throws InvalidArgument where no device has been loaded.
std::unique_ptr<DeviceRows<float>> upload_rows(MatrixView<const float> x, const float* weights);
std::unique_ptr<DeviceRows<double>> upload_rows(MatrixView<const double> x, const double* weights);

}  // namespace steppe
