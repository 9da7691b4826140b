#pragma once

#include <cstdint>

#include "cuda/quantiles.hpp"
#include "cuda/tiles.hpp"

// Kernels over columns that lie one after the other.
namespace steppe::cuda {

inline constexpr int kPatch = 32;

// columns[j * rows + i] = x[i][j], in patches of 32 x 32 so that both sides are read and written in lines. One block of
// 32 x 8 threads for each patch, those of the same rows one after the other.
template <class T>
__global__ void transpose(const T* x, std::int64_t rows, std::int64_t stride, int n_columns, T* columns) {
  __shared__ T patch[kPatch][kPatch + 1];
  const int across = (n_columns + kPatch - 1) / kPatch;
  const std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x) / across * kPatch;
  const int column0 = static_cast<int>(blockIdx.x % static_cast<unsigned>(across)) * kPatch;
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

__global__ inline void number_rows(std::int64_t rows, std::int64_t size, std::int32_t* numbers) {
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

// All threads of the block get join over their values, made in the same order every time. `shared`: one for each
// thread.
template <class Join>
__device__ double over_block(double value, double* shared, Join&& join) {
  const int thread = static_cast<int>(threadIdx.x);
  shared[thread] = value;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) shared[thread] = join(shared[thread], shared[thread + half]);
    __syncthreads();
  }
  const double joined = shared[0];
  __syncthreads();
  return joined;
}

// One block for each column. Differences are divided by the largest, so that their powers neither overflow nor vanish.
// What is not finite makes a distance that is not.
template <class T>
__global__ void quantile_distances(const T* x, const T* y, std::int64_t n_x, std::int64_t n_y, double p,
                                   double* distances) {
  __shared__ double shared[kThreads];
  const T* const xs = x + blockIdx.x * n_x;
  const T* const ys = y + blockIdx.x * n_y;
  const auto difference = [&](std::int64_t r, std::int64_t k) {
    return fabs(static_cast<double>(xs[r]) - static_cast<double>(ys[k]));
  };
  const auto larger = [](double a, double b) { return a > b || isnan(a) ? a : b; };
  double most = 0, sum = 0;
  for (std::int64_t r = threadIdx.x; r < n_x; r += kThreads) {
    for_common_quantiles(r, n_x, n_y, [&](std::int64_t k, std::int64_t) { most = larger(difference(r, k), most); });
  }
  const double largest = over_block(most, shared, larger);
  for (std::int64_t r = threadIdx.x; r < n_x && largest > 0; r += kThreads) {
    for_common_quantiles(r, n_x, n_y, [&](std::int64_t k, std::int64_t common) {
      sum += power(difference(r, k) / largest, p) * static_cast<double>(common);
    });
  }
  sum = over_block(sum, shared, [](double a, double b) { return a + b; });
  if (threadIdx.x == 0) {
    const double mean = sum / (static_cast<double>(n_x) * static_cast<double>(n_y));
    distances[blockIdx.x] = largest > 0 ? largest * pow(mean, 1 / p) : largest;
  }
}

}  // namespace steppe::cuda
