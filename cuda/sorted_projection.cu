#include "cuda/sorted_projection.hpp"

#include <algorithm>
#include <array>
#include <cub/device/device_segmented_sort.cuh>
#include <limits>
#include <vector>

#include "cuda/columns.cuh"
#include "cuda/cublas.hpp"
#include "cuda/device_buffer.hpp"
#include "cuda/stream.hpp"
#include "cuda/tiles.hpp"
#include "steppe/core/errors.hpp"

namespace steppe::cuda {
namespace {

constexpr std::size_t kStreams = 2;
// Bytes of all streams' blocks; the sort takes up to as much again. Enough columns to fill the device, few enough that
// the passes of a sort meet in its cache.
constexpr std::size_t kBudget = std::size_t{1} << 28;
// Beyond 500 segments CUB first groups them by size, and the host waits for the groups: both streams would stand still.
constexpr std::size_t kMostColumns = 500;

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
    const auto patches = static_cast<unsigned>(tiles_for(rows_, kPatch) * tiles_for(count, kPatch));
    transpose<<<patches, threads, 0, stream.get()>>>(x.data() + first, static_cast<std::int64_t>(rows_),
                                                     static_cast<std::int64_t>(x.stride()), static_cast<int>(count),
                                                     values_.data());
    check_launch("transposition");
  }

  void project(MatrixView<const T> x, MatrixView<const T> directions, std::size_t first, std::size_t count,
               const Stream& stream, std::size_t lane) {
    transposed_product(rows_, count, x.cols(), x.data(), x.stride(), directions.data() + first, directions.stride(),
                       values_.data(), stream.get(), lane);
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
  Lane(std::size_t n_x, std::size_t n_y, std::size_t most_columns, bool numbered, std::size_t lane)
      : x(n_x, most_columns, numbered), y(n_y, most_columns, false), number(lane) {}
  Columns<T> x, y;
  std::size_t number;
  Stream stream;
};

// work(lane, first column, number of columns) for all blocks, on lanes in turn; returns when all is done.
template <class T, class Work>
void over_columns(std::size_t n_x, std::size_t n_y, std::size_t n_columns, bool numbered, Work&& work) {
  const std::size_t bytes = 2 * sizeof(T) * (n_x + n_y) + (numbered ? 2 * sizeof(std::int32_t) * n_x : 0);
  const std::size_t fitting = columns_at_a_time(n_columns, bytes, kBudget / kStreams, kStreams);
  const std::size_t block = std::min(fitting, kMostColumns);
  std::array<Lane<T>, kStreams> lanes{Lane<T>(n_x, n_y, block, numbered, 0), Lane<T>(n_x, n_y, block, numbered, 1)};
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
                    lane.x.project(x, directions, first, count, lane.stream, lane.number);
                    lane.y.project(y, directions, first, count, lane.stream, lane.number);
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
                     directions.stride(), projected.data(), stream.get(), 0);
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
