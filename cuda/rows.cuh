#pragma once

#include <cstdint>

#include "cuda/tiles.hpp"

// Kernels over rows and their cells, one element or row at a time.
namespace steppe::cuda {

inline constexpr int kWarp = 32;

// Of this thread among all of the grid.
__device__ inline std::int64_t thread_of_grid() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__global__ inline void sum_over_blocks(const double* masses, int blocks, std::int64_t padded_sites,
                                       std::int64_t n_sites, double* totals) {
  const std::int64_t site = thread_of_grid();
  if (site >= n_sites) return;
  double total = 0;
  for (int block = 0; block < blocks; ++block) total += masses[block * padded_sites + site];
  totals[site] = total;
}

// One warp for each row.
template <class T>
__global__ void cost_of_each(const T* x, std::int64_t rows, std::int64_t stride, int cols, const T* sites,
                             std::int64_t site_stride, const double* potential, bool squared,
                             const std::int32_t* labels, T* costs) {
  const std::int64_t row = thread_of_grid() / kWarp;
  if (row >= rows) return;
  const std::int32_t label = labels[row];
  double square = 0;
  for (int k = static_cast<int>(threadIdx.x) % kWarp; k < cols; k += kWarp) {
    const double difference =
        static_cast<double>(x[row * stride + k]) - static_cast<double>(sites[label * site_stride + k]);
    square += difference * difference;
  }
  for (int step = kWarp / 2; step > 0; step /= 2) square += __shfl_xor_sync(0xffffffffu, square, step);
  if (threadIdx.x % kWarp == 0) costs[row] = static_cast<T>((squared ? square : sqrt(square)) - potential[label]);
}

// Blocks in y walk the rows, those in x their elements.
template <class T>
__global__ void find_not_finite(const T* x, std::int64_t rows, std::int64_t stride, std::int64_t cols, int* found) {
  const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    for (std::int64_t k = thread_of_grid(); k < cols; k += threads) {
      if (!isfinite(x[row * stride + k])) *found = 1;  // all writers write the same
    }
  }
}

// taken[i] = sites[labels[i]]: blocks in y walk the rows, those in x their elements.
template <class T>
__global__ void take_each(const T* sites, std::int64_t stride, const std::int32_t* labels, std::int64_t rows,
                          std::int64_t cols, T* taken) {
  const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    for (std::int64_t k = thread_of_grid(); k < cols; k += threads)
      taken[row * cols + k] = sites[labels[row] * stride + k];
  }
}

}  // namespace steppe::cuda
