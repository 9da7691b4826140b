#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/models/ot/transport_dual.hpp"
#include "steppe/runtime/device.hpp"

using namespace steppe;

namespace {

// The CPU's kernels behind the table of a device.
template <class T>
class RowsOfHost final : public DeviceRows<T> {
 public:
  RowsOfHost(MatrixView<const T> x, const T* weights) : x_(x), weights_(weights) {}

  void assign(const kernels::SitesView<T>& sites, std::size_t stride, std::span<std::int32_t> labels) override {
    AlignedVector<T> scratch(kernels::assign_scratch<T>(sites.n_features));
    kernels::assign_rows<T>(strided(stride), sites, labels, scratch.data());
  }
  void spread(const kernels::SitesView<T>& sites, std::size_t stride, T steepness, kernels::SpreadSums& sums) override {
    AlignedVector<T> scratch(kernels::spread_scratch(sites));
    std::vector<T> weights;
    for (std::size_t i = 0; weights_ != nullptr && i < x_.rows(); i += stride) weights.push_back(weights_[i]);
    kernels::spread_rows<T>(strided(stride), weights.empty() ? nullptr : weights.data(), sites, steepness, sums,
                            scratch.data());
  }

 private:
  MatrixView<const T> strided(std::size_t stride) const {
    return {x_.data(), (x_.rows() + stride - 1) / stride, x_.cols(), x_.cols() * stride};
  }
  MatrixView<const T> x_;
  const T* weights_;
};

template <class T>
std::unique_ptr<DeviceRows<T>> upload(MatrixView<const T> x, const T* weights) {
  return std::make_unique<RowsOfHost<T>>(x, weights);
}

constexpr DeviceKernels kOfHost{.upload_float = &upload<float>, .upload_double = &upload<double>};

struct Loaded {
  Loaded() { set_device_kernels(&kOfHost); }
  ~Loaded() { set_device_kernels(nullptr); }
};

}  // namespace

TEST_CASE_TEMPLATE("a dual whose rows are on a device is that of the CPU", T, float, double) {
  const Loaded loaded;
  constexpr std::size_t n = 1000, m = 30, d = 3;
  std::mt19937 random(5);
  std::normal_distribution<double> normal;
  std::vector<T> x(n * d), sites(m * d), weights(n);
  std::vector<double> potential(m);
  for (T& value : x) value = static_cast<T>(normal(random));
  for (T& value : sites) value = static_cast<T>(normal(random));
  for (T& value : weights) value = static_cast<T>(std::abs(normal(random)));
  for (double& value : potential) value = 0.2 * normal(random);
  Team team(1);
  Control control;
  for (const bool squared : {true, false}) {
    for (const bool weighted : {true, false}) {
      const WeightedPoints<T> points{{x.data(), n, d}, weighted ? std::span<const T>(weights) : std::span<const T>()};
      const MatrixView<const T> places(sites.data(), m, d);
      TransportDual<T> cpu(points, places, squared, false, team), device(points, places, squared, true, team);
      const double close = sizeof(T) == 4 ? 1e-4 : 1e-11;
      for (const std::size_t stride : {1, 3}) {
        for (const bool soft : {true, false}) {
          const auto expected = soft ? cpu.soft(potential, 0.4, stride, control) : cpu.hard(potential, stride, control);
          const auto sums =
              soft ? device.soft(potential, 0.4, stride, control) : device.hard(potential, stride, control);
          REQUIRE(expected.has_value());
          REQUIRE(sums.has_value());
          CHECK(sums->weight == expected->weight);
          CHECK(sums->value == doctest::Approx(expected->value).epsilon(close));
          for (std::size_t j = 0; j < m; ++j) CHECK(std::abs(sums->mass[j] - expected->mass[j]) <= close * n);
        }
      }
    }
  }
}
