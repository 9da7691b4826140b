#pragma once

#include <cstdint>

#include "cuda/tiles.hpp"
#ifdef __CUDACC__
#include "cuda/tensor_core.cuh"
#endif

// The one loop of the cells: scores of rows and sites, tile by tile, each tile folded away before the next. Written
// against nvcc's built-in names alone: tests/cpp/cuda brings its own and runs blocks as threads of the host.
namespace steppe::cuda {

template <class T>
struct alignas(16) Vector {
  static constexpr int kSize = 16 / sizeof(T);
  T values[kSize];
};

// Rows of a matrix on the device. `whole`: every row starts on 16 bytes and is a whole number of vectors.
template <class T>
struct Operand {
  const T* data;
  std::int64_t rows, stride;
  int cols;
  bool whole;

  __device__ Vector<T> read(std::int64_t row, int col) const {
    Vector<T> read{};
    if (row >= rows || col >= cols) return read;
    const T* const from = data + row * stride + col;
    if (whole) return *reinterpret_cast<const Vector<T>*>(from);
    for (int v = 0; v < Vector<T>::kSize; ++v) {
      if (col + v < cols) read.values[v] = from[v];
    }
    return read;
  }
};

// SitesView on the device: -y' by sites, padded with zeros to whole tiles of features.
template <class T>
struct Places {
  Operand<T> sites;
  const T* offsets;  // infinite beyond the last site, whole tiles
  const T* centre;   // padded with zeros
  T scale;
};

__device__ inline float exponential(float x) { return __expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

// -x'.y' by multiplication and addition.
template <class T>
struct Products : PlainTile<T> {
  using Scalar = T;
  using Tile = PlainTile<T>;
  __device__ static T prepared(T value) { return value; }
  __device__ static T score(T sum, T offset) { return sum + offset; }
  __device__ static T added(T sum, T x, T minus_y) { return fma(x, minus_y, sum); }
};

// |x' - y'|
template <class T>
struct Differences : Products<T> {
  __device__ static T score(T sum, T offset) { return sqrt(sum) + offset; }
  __device__ static T added(T sum, T x, T minus_y) { return fma(x + minus_y, x + minus_y, sum); }
};

template <class Form, class T>
__device__ void multiply(const T* rows, const T* sites, T (&sums)[Form::kSide][Form::kSide]) {
  using V = Vector<T>;
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int k = 0; k < Form::kDepth; k += V::kSize) {
    V x[Form::kSide];
#pragma unroll
    for (int i = 0; i < Form::kSide; ++i) {
      x[i] = *reinterpret_cast<const V*>(rows + Form::row(thread, i) * Form::kPitch + k);
    }
#pragma unroll
    for (int j = 0; j < Form::kSide; ++j) {
      const V y = *reinterpret_cast<const V*>(sites + Form::site(thread, j) * Form::kPitch + k);
#pragma unroll
      for (int v = 0; v < V::kSize; ++v) {
#pragma unroll
        for (int i = 0; i < Form::kSide; ++i) sums[i][j] = Form::added(sums[i][j], x[i].values[v], y.values[v]);
      }
    }
  }
}

// -x'.y' by tensor cores.
struct TensorProducts : TensorTile {
  using Scalar = float;
  __device__ static float prepared(float value) { return rounded_to_tf32(value); }
  __device__ static float score(float sum, float offset) { return sum + offset; }
};

// The order of features is free as long as both sides agree, so a lane takes neighbours: its slots k and k + 4 are
// features 2 k and 2 k + 1 of the eight of a fragment.
template <>
__device__ inline void multiply<TensorProducts, float>(const float* rows, const float* sites, float (&sums)[8][8]) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int first_site = TensorTile::first_site(thread / 32) + lane / 4, k = lane % 4 * 4;
  float4 x[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    x[i] = *reinterpret_cast<const float4*>(rows + TensorTile::row(thread, i) * TensorTile::kPitch + k);
  }
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    const float4 y = *reinterpret_cast<const float4*>(sites + (first_site + 8 * c) * TensorTile::kPitch + k);
#pragma unroll
    for (int f = 0; f < 4; ++f) {
      float (&low)[8] = sums[2 * f];
      float (&high)[8] = sums[2 * f + 1];
      multiply_fragment(low[2 * c], low[2 * c + 1], high[2 * c], high[2 * c + 1], x[2 * f].x, x[2 * f + 1].x,
                        x[2 * f].y, x[2 * f + 1].y, y.x, y.y);
      multiply_fragment(low[2 * c], low[2 * c + 1], high[2 * c], high[2 * c + 1], x[2 * f].z, x[2 * f + 1].z,
                        x[2 * f].w, x[2 * f + 1].w, y.z, y.w);
    }
  }
}

// What a thread reads of the next tile while this one is multiplied.
template <class Form>
struct Stage {
  using T = typename Form::Scalar;
  using V = Vector<T>;
  static constexpr int kVectorsOfRow = Form::kDepth / V::kSize;
  static constexpr int kVectors = Form::kWidth * kVectorsOfRow / kThreads;

  V rows[kVectors], sites[kVectors];

  __device__ void fetch(const Operand<T>& x, const Places<T>& places, std::int64_t row0, int site0, int col0) {
#pragma unroll
    for (int n = 0; n < kVectors; ++n) {
      const int id = static_cast<int>(threadIdx.x) + n * kThreads;
      const int row = id / kVectorsOfRow, col = col0 + id % kVectorsOfRow * V::kSize;
      rows[n] = x.read(row0 + row, col);
      sites[n] = places.sites.read(site0 + row, col);
      const V centre = *reinterpret_cast<const V*>(places.centre + col);
#pragma unroll
      for (int v = 0; v < V::kSize; ++v) rows[n].values[v] = rows[n].values[v] * places.scale - centre.values[v];
    }
  }

  __device__ void store(T* row_tile, T* site_tile) const {
#pragma unroll
    for (int n = 0; n < kVectors; ++n) {
      const int id = static_cast<int>(threadIdx.x) + n * kThreads;
      const int at = id / kVectorsOfRow * Form::kPitch + id % kVectorsOfRow * V::kSize;
      V x, y;
#pragma unroll
      for (int v = 0; v < V::kSize; ++v) {
        x.values[v] = Form::prepared(rows[n].values[v]);
        y.values[v] = Form::prepared(sites[n].values[v]);
      }
      *reinterpret_cast<V*>(row_tile + at) = x;
      *reinterpret_cast<V*>(site_tile + at) = y;
    }
  }
};

// All scores of a block's tiles of rows, in tiles of sites, given to the fold:
//   open(slots)               before the first tile of sites
//   take(slots, scores, row0, site0)   a tile of sites; scores[i][j] are this thread's
//   close(slots, row0)        after the last; the block waits before and after
//   finish()                  once a block
// slots: kSide for each thread, in shared memory. Two buffers take turns: one is multiplied, the other filled.
template <class Form, class Fold>
__global__ void __launch_bounds__(kThreads, 2)
    sweep(Operand<typename Form::Scalar> x, Places<typename Form::Scalar> places, Fold fold) {
  using T = typename Form::Scalar;
  constexpr int kSide = Form::kSide, kWidth = Form::kWidth;
  alignas(16) __shared__ T row_tiles[2][kWidth * Form::kPitch];
  alignas(16) __shared__ T site_tiles[2][kWidth * Form::kPitch];
  __shared__ typename Fold::Slot slots[kSide * kThreads];
  const int depth_steps = (x.cols + Form::kDepth - 1) / Form::kDepth;
  const int steps = depth_steps * static_cast<int>((places.sites.rows + kWidth - 1) / kWidth);
  const int thread = static_cast<int>(threadIdx.x);
  for (std::int64_t row0 = static_cast<std::int64_t>(blockIdx.x) * kWidth; row0 < x.rows;
       row0 += static_cast<std::int64_t>(gridDim.x) * kWidth) {
    fold.open(slots);
    Stage<Form> stage;
    stage.fetch(x, places, row0, 0, 0);
    stage.store(row_tiles[0], site_tiles[0]);
    __syncthreads();
    T sums[kSide][kSide] = {};
    int site0 = 0, depth = 0;
    for (int step = 0; step < steps; ++step) {
      const bool tile_ends = depth + 1 == depth_steps;
      const int next_site0 = tile_ends ? site0 + kWidth : site0, next_depth = tile_ends ? 0 : depth + 1;
      const bool more = step + 1 < steps;
      if (more) stage.fetch(x, places, row0, next_site0, next_depth * Form::kDepth);
      multiply<Form>(row_tiles[step % 2], site_tiles[step % 2], sums);
      if (more) stage.store(row_tiles[(step + 1) % 2], site_tiles[(step + 1) % 2]);
      if (tile_ends) {
#pragma unroll
        for (int j = 0; j < kSide; ++j) {
          const T offset = places.offsets[site0 + Form::site(thread, j)];
#pragma unroll
          for (int i = 0; i < kSide; ++i) sums[i][j] = Form::score(sums[i][j], offset);
        }
        fold.take(slots, sums, row0, site0);
#pragma unroll
        for (int i = 0; i < kSide; ++i) {
#pragma unroll
          for (int j = 0; j < kSide; ++j) sums[i][j] = 0;
        }
      }
      __syncthreads();
      site0 = next_site0;
      depth = next_depth;
    }
    fold.close(slots, row0);
    __syncthreads();
  }
  fold.finish();
}

}  // namespace steppe::cuda
