#pragma once

#include <cstddef>

#include "steppe/core/macros.hpp"

// How a block of threads shares a tile of rows times sites, told apart from the kernels so that it is tested without a
// device. A thread holds kSide x kSide scores (i, j); 16 threads hold each row and 16 each site.
namespace steppe::cuda {

inline constexpr int kThreads = 256;
inline constexpr int kSharers = 16;

// CUDA cores: threads form a square of 16 x 16, and neighbours hold neighbouring sites.
template <class T>
struct PlainTile {
  static constexpr int kSide = sizeof(T) == 4 ? 8 : 4;
  static constexpr int kWidth = kSharers * kSide;  // rows, and sites, of the tile
  static constexpr int kDepth = 8;                 // features at a time
  // Distance of rows in shared memory. 16 more bytes than the depth: an odd number of vectors of 16 bytes, so that 8
  // neighbours read from all 32 banks.
  static constexpr int kPitch = kDepth + 16 / static_cast<int>(sizeof(T));

  STEPPE_HD static constexpr int row(int thread, int i) { return thread / kSharers + kSharers * i; }
  STEPPE_HD static constexpr int site(int thread, int j) { return thread % kSharers + kSharers * j; }
  STEPPE_HD static constexpr int holder_of_row(int row, int sharer) { return row % kSharers * kSharers + sharer; }
  STEPPE_HD static constexpr int place_of_row(int row) { return row / kSharers; }
  STEPPE_HD static constexpr int holder_of_site(int site, int sharer) { return sharer * kSharers + site % kSharers; }
  STEPPE_HD static constexpr int place_of_site(int site) { return site / kSharers; }
};

// Tensor cores, mma.m16n8k8: 2 x 4 warps of 64 rows x 32 sites, each 4 x 4 fragments of 16 x 8. In a fragment a lane
// holds the rows lane / 4 and that + 8 of the sites 2 (lane % 4) and that + 1.
struct TensorTile {
  static constexpr int kSide = 8;
  static constexpr int kWidth = kSharers * kSide;
  static constexpr int kDepth = 16;
  static constexpr int kPitch = kDepth;  // a quarter of a warp reads two whole rows: all 32 banks

  STEPPE_HD static constexpr int first_row(int warp) { return warp / 4 * 64; }
  STEPPE_HD static constexpr int first_site(int warp) { return warp % 4 * 32; }
  STEPPE_HD static constexpr int row(int thread, int i) {
    return first_row(thread / 32) + i / 2 * 16 + i % 2 * 8 + thread % 32 / 4;
  }
  STEPPE_HD static constexpr int site(int thread, int j) {
    return first_site(thread / 32) + j / 2 * 8 + thread % 4 * 2 + j % 2;
  }
  STEPPE_HD static constexpr int holder_of_row(int row, int sharer) {
    return (row / 64 * 4 + sharer / 4) * 32 + row % 8 * 4 + sharer % 4;
  }
  STEPPE_HD static constexpr int place_of_row(int row) { return row % 64 / 16 * 2 + row % 16 / 8; }
  STEPPE_HD static constexpr int holder_of_site(int site, int sharer) {
    return (sharer / 8 * 4 + site / 32) * 32 + sharer % 8 * 4 + site % 8 / 2;
  }
  STEPPE_HD static constexpr int place_of_site(int site) { return site % 32 / 8 * 2 + site % 2; }
};

STEPPE_HD constexpr std::size_t tiles_for(std::size_t size, std::size_t tile) { return (size + tile - 1) / tile; }

STEPPE_HD constexpr std::size_t padded_to(std::size_t size, std::size_t tile) { return tiles_for(size, tile) * tile; }

// Columns that are sorted at a time: blocks that fit into `budget` bytes, or hold one column, as many for each stream.
constexpr std::size_t columns_at_a_time(std::size_t columns, std::size_t bytes_of_column, std::size_t budget,
                                        std::size_t streams) {
  const std::size_t fitting = budget / (bytes_of_column == 0 ? 1 : bytes_of_column);
  const std::size_t blocks = padded_to(tiles_for(columns, fitting == 0 ? 1 : fitting), streams);
  return blocks == 0 ? 1 : tiles_for(columns, blocks);
}

}  // namespace steppe::cuda
