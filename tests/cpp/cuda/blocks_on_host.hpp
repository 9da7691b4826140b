#pragma once

#include <math.h>  // NOLINT(modernize-deprecated-headers): kernels call these functions without std::

#include <array>
#include <barrier>
#include <bit>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "cuda/tiles.hpp"

// Kernels without a device: what nvcc builds in, for a block whose threads are the host's. Blocks run one after the
// other, so that shared memory is static; a race between threads of a block is one that sanitizers see.

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)

struct Dim {
  unsigned x = 1, y = 1, z = 1;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline thread_local Dim threadIdx, blockIdx;
inline Dim blockDim, gridDim;

template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
inline float __expf(float x) { return std::exp(x); }

namespace on_host {

inline constexpr int kLanes = 32;

struct Warp {
  std::barrier<> together{kLanes};
  std::array<std::array<float, 6>, kLanes> fragments{};
  std::array<double, kLanes> values{};
};
struct Block {
  explicit Block(unsigned threads) : together(threads), ended(threads), warps((threads + kLanes - 1) / kLanes) {}
  std::barrier<> together, ended;
  std::vector<Warp> warps;
};
inline Block* running = nullptr;

inline int thread_of_block() { return static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x); }
inline Warp& my_warp() { return running->warps[static_cast<std::size_t>(thread_of_block() / kLanes)]; }
inline std::size_t my_lane() { return static_cast<std::size_t>(thread_of_block() % kLanes); }

// kernel() by every thread of every block.
template <class Kernel>
void run(Dim grid, Dim threads, Kernel&& kernel) {
  Block block(threads.x * threads.y);
  running = &block;
  gridDim = grid;
  blockDim = threads;
  std::vector<std::jthread> team;
  for (unsigned y = 0; y < threads.y; ++y) {
    for (unsigned x = 0; x < threads.x; ++x) {
      team.emplace_back([&, x, y] {
        threadIdx = {x, y, 0};
        for (unsigned by = 0; by < grid.y; ++by) {
          for (unsigned bx = 0; bx < grid.x; ++bx) {
            blockIdx = {bx, by, 0};
            kernel();
            block.ended.arrive_and_wait();
          }
        }
      });
    }
  }
}

}  // namespace on_host

inline void __syncthreads() { on_host::running->together.arrive_and_wait(); }

inline double __shfl_xor_sync(unsigned, double value, int step) {
  auto& warp = on_host::my_warp();
  warp.values[on_host::my_lane()] = value;
  warp.together.arrive_and_wait();
  const double other = warp.values[on_host::my_lane() ^ static_cast<std::size_t>(step)];
  warp.together.arrive_and_wait();
  return other;
}

namespace steppe::cuda {

// cvt.rna.tf32: the nearest of 11 significant bits, halves away from zero.
inline float rounded_to_tf32(float x) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(x) + 0x1000u) & ~std::uint32_t{0x1fff});
}

// mma.m16n8k8, by PTX's tables: which lane holds what of A, B and D.
inline void multiply_fragment(float& d0, float& d1, float& d2, float& d3, float a0, float a1, float a2, float a3,
                              float b0, float b1) {
  auto& warp = on_host::my_warp();
  const std::size_t lane = on_host::my_lane(), group = lane / 4, column = 2 * (lane % 4);
  warp.fragments[lane] = {a0, a1, a2, a3, b0, b1};
  warp.together.arrive_and_wait();
  const auto a = [&](std::size_t row, std::size_t k) {
    return warp.fragments[row % 8 * 4 + k % 4][row / 8 + 2 * (k / 4)];
  };
  const auto b = [&](std::size_t k, std::size_t n) { return warp.fragments[n * 4 + k % 4][4 + k / 4]; };
  for (std::size_t k = 0; k < 8; ++k) {
    d0 += a(group, k) * b(k, column);
    d1 += a(group, k) * b(k, column + 1);
    d2 += a(group + 8, k) * b(k, column);
    d3 += a(group + 8, k) * b(k, column + 1);
  }
  warp.together.arrive_and_wait();
}

}  // namespace steppe::cuda
