#include "steppe/runtime/device.hpp"

#include <doctest/doctest.h>

#include "steppe/core/errors.hpp"

using namespace steppe;

TEST_CASE("rows go to a device whose kernels are loaded, and to no other") {
  const float row[] = {1, 2};
  CHECK(device_kernels() == nullptr);
  CHECK_THROWS_AS(upload_rows(MatrixView<const float>(row, 1, 2), nullptr), InvalidArgument);
  const DeviceKernels empty{
      .upload_float = [](MatrixView<const float>, const float*) { return std::unique_ptr<DeviceRows<float>>(); },
      .upload_double = nullptr};
  set_device_kernels(&empty);
  CHECK(device_kernels() == &empty);
  CHECK(upload_rows(MatrixView<const float>(row, 1, 2), nullptr) == nullptr);
  set_device_kernels(nullptr);
}
