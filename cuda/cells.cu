#include "cuda/cells.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "cuda/device_buffer.hpp"
#include "cuda/folds.cuh"
#include "cuda/rows.cuh"
#include "cuda/site_rows.hpp"
#include "cuda/stream.hpp"
#include "cuda/sweep.cuh"
#include "steppe/core/errors.hpp"

namespace steppe::cuda {
namespace {

constexpr std::int64_t kMostBlocks = 65535;  // of a grid in y

// Kept between calls of one fit: sites change, their sizes do not.
template <class T>
class DeviceSites {
 public:
  void upload(const kernels::SitesView<T>& sites, cudaStream_t stream) {
    rows_.take(sites);
    send(values_, rows_.values, stream);
    send(offsets_, rows_.offsets, stream);
    send(centre_, rows_.centre, stream);
    check(cudaStreamSynchronize(stream), "copying sites to the device");
  }

  Places<T> places() const {
    const auto m = static_cast<std::int64_t>(rows_.n_sites), depth = static_cast<std::int64_t>(rows_.depth);
    return {{values_.data(), m, depth, static_cast<int>(depth), true}, offsets_.data(), centre_.data(), rows_.scale};
  }
  std::size_t padded_sites() const { return offsets_.size(); }

 private:
  static void send(DeviceBuffer<T>& buffer, const std::vector<T>& values, cudaStream_t stream) {
    if (buffer.size() != values.size()) buffer = DeviceBuffer<T>(values.size());
    buffer.upload(values, stream);
  }

  SiteRows<T> rows_;
  DeviceBuffer<T> values_, offsets_, centre_;
};

template <class Kernel>
int resident_blocks(Kernel kernel) {
  int device = 0, multiprocessors = 0, blocks = 0;
  check(cudaGetDevice(&device), "asking for the device");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking for the device's size");
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kThreads, 0), "asking for the occupancy");
  return std::max(blocks, 1) * multiprocessors;
}

// Blocks that walk rows (in y) and their elements (in x).
dim3 grid_over(std::int64_t rows, std::int64_t cols) {
  return {static_cast<unsigned>(std::min(tiles_for(static_cast<std::size_t>(cols), kThreads), std::size_t{4096})),
          static_cast<unsigned>(std::min(rows, kMostBlocks)), 1};
}

// As many blocks as run at once: each walks several tiles of rows.
template <class Form, class Fold>
int grid_for(std::size_t rows) {
  const auto tiles = tiles_for(rows, static_cast<std::size_t>(Form::kWidth));
  return static_cast<int>(std::min<std::size_t>(tiles, static_cast<std::size_t>(resident_blocks(sweep<Form, Fold>))));
}

template <class Form, class Fold, class T>
void launch(MatrixView<const T> x, const Places<T>& places, const Fold& fold, int grid, cudaStream_t stream) {
  sweep<Form, Fold><<<grid, kThreads, 0, stream>>>(operand(x), places, fold);
  check_launch("sweep over rows and sites");
}

template <class Form, class T>
void nearest(MatrixView<const T> x, const Places<T>& places, std::int32_t* labels, cudaStream_t stream) {
  using Fold = Nearest<Form>;
  launch<Form>(x, places, Fold{static_cast<std::int64_t>(x.rows()), labels}, grid_for<Form, Fold>(x.rows()), stream);
}

template <class T>
void nearest_of(MatrixView<const T> x, const Places<T>& places, bool squared, Precision precision, std::int32_t* labels,
                cudaStream_t stream) {
  if (x.rows() == 0) return;
  if constexpr (std::is_same_v<T, float>) {
    if (precision == Precision::tf32) return nearest<TensorProducts>(x, places, labels, stream);
  }
  if (squared) return nearest<Products<T>>(x, places, labels, stream);
  nearest<Differences<T>>(x, places, labels, stream);
}

template <class T>
class RowsOnDevice final : public DeviceRows<T> {
 public:
  RowsOnDevice(MatrixView<const T> x, const T* weights)
      : x_(x.rows() * x.cols()), weights_(weights == nullptr ? 0 : x.rows()), rows_(x.rows()), cols_(x.cols()) {
    if (rows_ == 0) return;
    check(cudaMemcpy2DAsync(x_.data(), cols_ * sizeof(T), x.data(), x.stride() * sizeof(T), cols_ * sizeof(T), rows_,
                            cudaMemcpyHostToDevice, stream_.get()),
          "copying rows to the device");
    if (weights != nullptr) weights_.upload(std::span<const T>(weights, rows_), stream_.get());
    stream_.wait();
  }

  void assign(const kernels::SitesView<T>& sites, std::size_t stride, std::span<std::int32_t> labels) override {
    const MatrixView<const T> x = strided(stride);
    sites_.upload(sites, stream_.get());
    labels_.reserve(x.rows());
    nearest_of(x, sites_.places(), sites.squared, Precision::full, labels_.data(), stream_.get());
    labels_.download(labels.first(x.rows()), stream_.get());
  }

  void spread(const kernels::SitesView<T>& sites, std::size_t stride, T steepness, kernels::SpreadSums& sums) override {
    const MatrixView<const T> x = strided(stride);
    sites_.upload(sites, stream_.get());
    if (x.rows() == 0) {
      std::fill(sums.mass.begin(), sums.mass.end(), 0.0);
      sums.score = sums.log_sum = 0;
      return;
    }
    if (sites.squared) return spread_as<Products<T>>(x, stride, steepness, sums);
    spread_as<Differences<T>>(x, stride, steepness, sums);
  }

 private:
  MatrixView<const T> strided(std::size_t stride) const {
    return {x_.data(), tiles_for(rows_, stride), cols_, cols_ * stride};
  }

  template <class Form>
  void spread_as(MatrixView<const T> x, std::size_t stride, T steepness, kernels::SpreadSums& sums) {
    using Minimum = SoftMinimum<Form>;
    const auto n = static_cast<std::int64_t>(x.rows());
    const T* const weights = weights_.size() == 0 ? nullptr : weights_.data();
    const int minimum_grid = grid_for<Form, Minimum>(x.rows()), grid = grid_for<Form, Shares<Form>>(x.rows());
    const auto padded = static_cast<std::int64_t>(sites_.padded_sites());
    least_.reserve(x.rows());
    factor_.reserve(x.rows());
    partial_sums_.reserve(static_cast<std::size_t>(minimum_grid) * kThreads * 2);
    masses_.reserve(static_cast<std::size_t>(grid) * sites_.padded_sites());
    totals_.reserve(sums.mass.size());
    masses_.fill_with_zeros(stream_.get());
    const Places<T> places = sites_.places();
    launch<Form>(x, places,
                 Minimum{.n_rows = n,
                         .steepness = steepness,
                         .weights = weights,
                         .weight_stride = static_cast<std::int64_t>(stride),
                         .least = least_.data(),
                         .factor = factor_.data(),
                         .sums = partial_sums_.data()},
                 minimum_grid, stream_.get());
    launch<Form>(x, places, Shares<Form>{n, padded, steepness, least_.data(), factor_.data(), masses_.data()}, grid,
                 stream_.get());
    const auto n_sites = static_cast<std::int64_t>(sums.mass.size());
    sum_over_blocks<<<static_cast<unsigned>(tiles_for(sums.mass.size(), kThreads)), kThreads, 0, stream_.get()>>>(
        masses_.data(), grid, padded, n_sites, totals_.data());
    check_launch("sum of masses");
    std::vector<double> partial(static_cast<std::size_t>(minimum_grid) * kThreads * 2);
    partial_sums_.download(partial, stream_.get());
    totals_.download(sums.mass, stream_.get());
    sums.score = sums.log_sum = 0;
    for (std::size_t k = 0; k < partial.size(); k += 2) {
      sums.score += partial[k];
      sums.log_sum += partial[k + 1];
    }
  }

  DeviceBuffer<T> x_, weights_, least_, factor_;
  DeviceBuffer<double> partial_sums_, masses_, totals_;
  DeviceBuffer<std::int32_t> labels_;
  DeviceSites<T> sites_;
  std::size_t rows_, cols_;
  Stream stream_;
};

}  // namespace

template <class T>
void assign_cells(MatrixView<const T> x, const kernels::SitesView<T>& sites, Precision precision,
                  std::int32_t* labels) {
  require(precision == Precision::full || (std::is_same_v<T, float> && sites.squared),
          "precision: 'tf32' is for float32 and squared costs; use precision='full'");
  DeviceSites<T> places;
  const Stream stream;
  places.upload(sites, stream.get());
  nearest_of(x, places.places(), sites.squared, precision, labels, stream.get());
  stream.wait();
}

template <class T>
void costs_of_cells(MatrixView<const T> x, MatrixView<const T> sites, const double* potential, bool squared,
                    const std::int32_t* labels, T* costs) {
  if (x.rows() == 0) return;
  const Stream stream;
  const auto blocks = static_cast<unsigned>(tiles_for(x.rows(), kThreads / kWarp));
  cost_of_each<T><<<blocks, kThreads, 0, stream.get()>>>(
      x.data(), static_cast<std::int64_t>(x.rows()), static_cast<std::int64_t>(x.stride()), static_cast<int>(x.cols()),
      sites.data(), static_cast<std::int64_t>(sites.stride()), potential, squared, labels, costs);
  check_launch("costs of cells");
  stream.wait();
}

template <class T>
void take_rows(MatrixView<const T> x, const std::int32_t* labels, MatrixView<T> taken) {
  if (taken.rows() == 0) return;
  const Stream stream;
  const auto rows = static_cast<std::int64_t>(taken.rows()), cols = static_cast<std::int64_t>(taken.cols());
  take_each<T><<<grid_over(rows, cols), kThreads, 0, stream.get()>>>(x.data(), static_cast<std::int64_t>(x.stride()),
                                                                     labels, rows, cols, taken.data());
  check_launch("rows of labels");
  stream.wait();
}

template <class T>
bool all_finite(MatrixView<const T> x) {
  if (x.rows() == 0 || x.cols() == 0) return true;
  DeviceBuffer<int> found(1);
  const Stream stream;
  found.fill_with_zeros(stream.get());
  auto rows = static_cast<std::int64_t>(x.rows()), cols = static_cast<std::int64_t>(x.cols());
  if (x.stride() == x.cols()) cols *= std::exchange(rows, 1);  // one long row
  find_not_finite<T><<<grid_over(rows, cols), kThreads, 0, stream.get()>>>(
      x.data(), rows, static_cast<std::int64_t>(x.stride()), cols, found.data());
  check_launch("search for what is not finite");
  int met = 0;
  found.download(std::span<int>(&met, 1), stream.get());
  return met == 0;
}

template <class T>
std::unique_ptr<DeviceRows<T>> upload_rows(MatrixView<const T> x, const T* weights) {
  return std::make_unique<RowsOnDevice<T>>(x, weights);
}

template void assign_cells(MatrixView<const float>, const kernels::SitesView<float>&, Precision, std::int32_t*);
template void assign_cells(MatrixView<const double>, const kernels::SitesView<double>&, Precision, std::int32_t*);
template void costs_of_cells(MatrixView<const float>, MatrixView<const float>, const double*, bool, const std::int32_t*,
                             float*);
template void costs_of_cells(MatrixView<const double>, MatrixView<const double>, const double*, bool,
                             const std::int32_t*, double*);
template void take_rows(MatrixView<const float>, const std::int32_t*, MatrixView<float>);
template void take_rows(MatrixView<const double>, const std::int32_t*, MatrixView<double>);
template bool all_finite(MatrixView<const float>);
template bool all_finite(MatrixView<const double>);
template std::unique_ptr<DeviceRows<float>> upload_rows(MatrixView<const float>, const float*);
template std::unique_ptr<DeviceRows<double>> upload_rows(MatrixView<const double>, const double*);

}  // namespace steppe::cuda
