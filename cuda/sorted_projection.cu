#include "cuda/sorted_projection.hpp"

#include <array>
#include <cub/block/block_reduce.cuh>
#include <cub/device/device_segmented_sort.cuh>
#include <limits>
#include <numeric>
#include <vector>

#include "cuda/cublas.hpp"
#include "cuda/device_buffer.hpp"
#include "cuda/quantiles.hpp"
#include "cuda/stream.hpp"
#include "cuda/tiles.hpp"
#include "steppe/core/errors.hpp"

namespace steppe::cuda {
namespace {

constexpr std::size_t kStreams = 2;
constexpr std::size_t kBudget = std::size_t{1} << 30;  // bytes of all streams' blocks; the sort's own come on top
constexpr int kPatch = 32;

// columns[j * rows + i] = x[i][first + j], in squares of 32 x 32 so that both sides are read and written in lines.
template <class T>
__global__ void transpose(const T* x, std::int64_t rows, std::int64_t stride, int n_columns, T* columns) {
  __shared__ T patch[kPatch][kPatch + 1];
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x) * kPatch;
  const int column0 = static_cast<int>(blockIdx.y) * kPatch;
  for (int k = static_cast<int>(threadIdx.y); k < kPatch; k += static_cast<int>(blockDim.y)) {
    const int column = column0 + static_cast<int>(threadIdx.x);
    if (row0 + k < rows && column < n_columns) patch[k][threadIdx.x] = x[(row0 + k) * stride + column];
  }
  __syncthreads();
  for (int k = static_cast<int>(threadIdx.y); k < kPatch; k += static_cast<int>(blockDim.y)) {
    const std::int64_t row = row0 + threadIdx.x;
    if (row < rows && column0 + k < n_columns) columns[(column0 + k) * rows + row] = patch[threadIdx.x][k];
  }
}

__global__ void number_rows(std::int64_t rows, std::int64_t size, std::int32_t* numbers) {
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (n < size) numbers[n] = static_cast<std::int32_t>(n % rows);
}

// targets[numbers[j][r]][j] = the target of rank r: the permutation is undone while it is written. Neighbouring columns
// of a row meet in the cache.
template <class T>
__global__ void scatter(const std::int32_t* numbers, const T* y, std::int64_t n_x, std::int64_t n_y, int n_columns,
                        std::int64_t stride, T* targets) {
  const std::int64_t n = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (n >= n_x * n_columns) return;
  const std::int64_t column = n / n_x, r = n % n_x;
  targets[numbers[n] * stride + column] = quantile_mean(y + column * n_y, n_y, r, n_x);
}

__device__ inline double power(double x, double p) { return p == 1 ? x : p == 2 ? x * x : pow(x, p); }

struct Larger {
  __device__ double operator()(double a, double b) const { return a > b ? a : b; }
};

// One block for each column. Differences are divided by the largest, so that their powers neither overflow nor vanish.
template <class T>
__global__ void quantile_distances(const T* x, const T* y, std::int64_t n_x, std::int64_t n_y, double p,
                                   double* distances) {
  using Reduce = cub::BlockReduce<double, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ double largest;
  const T* const xs = x + blockIdx.x * n_x;
  const T* const ys = y + blockIdx.x * n_y;
  const auto difference = [&](std::int64_t r, std::int64_t k) {
    return abs(static_cast<double>(xs[r]) - static_cast<double>(ys[k]));
  };
  double most = 0;
  for (std::int64_t r = threadIdx.x; r < n_x; r += kThreads) {
    for_common_quantiles(r, n_x, n_y, [&](std::int64_t k, std::int64_t) {
      const double gap = difference(r, k);
      most = gap > most || isnan(gap) ? gap : most;
    });
  }
  most = Reduce(storage).Reduce(most, Larger{});
  if (threadIdx.x == 0) largest = most;
  __syncthreads();
  double sum = 0;
  for (std::int64_t r = threadIdx.x; r < n_x && largest > 0; r += kThreads) {
    for_common_quantiles(r, n_x, n_y, [&](std::int64_t k, std::int64_t common) {
      sum += power(difference(r, k) / largest, p) * static_cast<double>(common);
    });
  }
  sum = Reduce(storage).Sum(sum);
  if (threadIdx.x == 0) {
    const double mean = sum / (static_cast<double>(n_x) * static_cast<double>(n_y));
    distances[blockIdx.x] = largest > 0 ? largest * pow(mean, 1 / p) : largest;
  }
}

unsigned blocks_for(std::size_t size) { return static_cast<unsigned>(tiles_for(size, kThreads)); }

// Columns of one sample, before and after the sort.
template <class T>
class Columns {
 public:
  Columns(std::size_t rows, std::size_t most_columns, bool numbered)
      : rows_(rows), values_(rows * most_columns), sorted_(values_.size()), numbers_(numbered ? values_.size() : 0),
        sorted_numbers_(numbers_.size()) {
    require(values_.size() < static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()),
            "X: a column has too many rows for the device; use device='cpu'");
    std::vector<std::int32_t> ends(most_columns + 1);
    for (std::size_t j = 0; j < ends.size(); ++j) ends[j] = static_cast<std::int32_t>(j * rows);
    ends_ = DeviceBuffer<std::int32_t>(std::span<const std::int32_t>(ends));
    if (numbered) {
      number_rows<<<blocks_for(values_.size()), kThreads>>>(static_cast<std::int64_t>(rows),
                                                            static_cast<std::int64_t>(values_.size()), numbers_.data());
      check_launch("numbers of rows");
    }
    check(cudaStreamSynchronize(nullptr), "preparing a block of columns");
  }

  void take(MatrixView<const T> x, std::size_t first, std::size_t count, const Stream& stream) {
    const dim3 threads(kPatch, kThreads / kPatch);
    const dim3 blocks(static_cast<unsigned>(tiles_for(rows_, kPatch)), static_cast<unsigned>(tiles_for(count, kPatch)));
    transpose<<<blocks, threads, 0, stream.get()>>>(x.data() + first, static_cast<std::int64_t>(rows_),
                                                    static_cast<std::int64_t>(x.stride()), static_cast<int>(count),
                                                    values_.data());
    check_launch("transposition");
  }

  void project(MatrixView<const T> x, MatrixView<const T> directions, std::size_t first, std::size_t count,
               const Stream& stream) {
    transposed_product(rows_, count, x.cols(), x.data(), x.stride(), directions.data() + first, directions.stride(),
                       values_.data(), stream.get());
  }

  // Stable: equal values keep the order of rows.
  void sort(std::size_t count, const Stream& stream) {
    const auto size = static_cast<int>(rows_ * count), segments = static_cast<int>(count);
    const auto run = [&](void* scratch, std::size_t& bytes) {
      const std::int32_t *begins = ends_.data(), *ends = ends_.data() + 1;
      check(numbers_.size() == 0 ? cub::DeviceSegmentedSort::SortKeys(scratch, bytes, values_.data(), sorted_.data(),
                                                                      size, segments, begins, ends, stream.get())
                                 : cub::DeviceSegmentedSort::StableSortPairs(
                                       scratch, bytes, values_.data(), sorted_.data(), numbers_.data(),
                                       sorted_numbers_.data(), size, segments, begins, ends, stream.get()),
            "sorting columns");
    };
    std::size_t bytes = 0;
    run(nullptr, bytes);
    if (bytes > scratch_.size()) {
      stream.wait();
      scratch_.reserve(bytes);
    }
    run(scratch_.data(), bytes);
  }

  const T* sorted() const { return sorted_.data(); }
  const std::int32_t* sorted_numbers() const { return sorted_numbers_.data(); }

 private:
  std::size_t rows_;
  DeviceBuffer<T> values_, sorted_;
  DeviceBuffer<std::int32_t> numbers_, sorted_numbers_, ends_;
  DeviceBuffer<unsigned char> scratch_;
};

// A stream with a block of columns of both samples.
template <class T>
struct Lane {
  Lane(std::size_t n_x, std::size_t n_y, std::size_t most_columns, bool numbered)
      : x(n_x, most_columns, numbered), y(n_y, most_columns, false) {}
  Columns<T> x, y;
  Stream stream;
};

// work(lane, first column, number of columns) for all blocks, on lanes in turn; returns when all is done.
template <class T, class Work>
void over_columns(std::size_t n_x, std::size_t n_y, std::size_t n_columns, bool numbered, Work&& work) {
  const std::size_t bytes = 2 * sizeof(T) * (n_x + n_y) + (numbered ? 2 * sizeof(std::int32_t) * n_x : 0);
  const std::size_t block = columns_at_a_time(n_columns, bytes, kBudget / kStreams, kStreams);
  std::array<Lane<T>, kStreams> lanes{Lane<T>(n_x, n_y, block, numbered), Lane<T>(n_x, n_y, block, numbered)};
  for (std::size_t first = 0, turn = 0; first < n_columns; first += block, ++turn) {
    work(lanes[turn % kStreams], first, std::min(block, n_columns - first));
  }
  for (const Lane<T>& lane : lanes) lane.stream.wait();
}

}  // namespace

template <class T>
void sorted_targets(MatrixView<const T> x, MatrixView<const T> y, MatrixView<T> targets) {
  over_columns<T>(x.rows(), y.rows(), x.cols(), true, [&](Lane<T>& lane, std::size_t first, std::size_t count) {
    lane.x.take(x, first, count, lane.stream);
    lane.y.take(y, first, count, lane.stream);
    lane.x.sort(count, lane.stream);
    lane.y.sort(count, lane.stream);
    scatter<<<blocks_for(x.rows() * count), kThreads, 0, lane.stream.get()>>>(
        lane.x.sorted_numbers(), lane.y.sorted(), static_cast<std::int64_t>(x.rows()),
        static_cast<std::int64_t>(y.rows()), static_cast<int>(count), static_cast<std::int64_t>(targets.stride()),
        targets.data() + first);
    check_launch("scatter of targets");
  });
}

template <class T>
void sliced_distances(MatrixView<const T> x, MatrixView<const T> y, MatrixView<const T> directions, double p,
                      std::span<double> distances) {
  DeviceBuffer<double> found(distances.size());
  over_columns<T>(x.rows(), y.rows(), directions.cols(), false,
                  [&](Lane<T>& lane, std::size_t first, std::size_t count) {
                    lane.x.project(x, directions, first, count, lane.stream);
                    lane.y.project(y, directions, first, count, lane.stream);
                    lane.x.sort(count, lane.stream);
                    lane.y.sort(count, lane.stream);
                    quantile_distances<<<static_cast<unsigned>(count), kThreads, 0, lane.stream.get()>>>(
                        lane.x.sorted(), lane.y.sorted(), static_cast<std::int64_t>(x.rows()),
                        static_cast<std::int64_t>(y.rows()), p, found.data() + first);
                    check_launch("distances of quantiles");
                  });
  found.download(distances, nullptr);
}

template <class T>
void project(MatrixView<const T> x, MatrixView<const T> directions, MatrixView<T> projected) {
  const Stream stream;
  transposed_product(x.rows(), directions.cols(), x.cols(), x.data(), x.stride(), directions.data(),
                     directions.stride(), projected.data(), stream.get());
  stream.wait();
}

template void project(MatrixView<const float>, MatrixView<const float>, MatrixView<float>);
template void project(MatrixView<const double>, MatrixView<const double>, MatrixView<double>);
template void sorted_targets(MatrixView<const float>, MatrixView<const float>, MatrixView<float>);
template void sorted_targets(MatrixView<const double>, MatrixView<const double>, MatrixView<double>);
template void sliced_distances(MatrixView<const float>, MatrixView<const float>, MatrixView<const float>, double,
                               std::span<double>);
template void sliced_distances(MatrixView<const double>, MatrixView<const double>, MatrixView<const double>, double,
                               std::span<double>);

}  // namespace steppe::cuda
