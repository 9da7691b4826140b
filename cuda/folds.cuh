#pragma once

#include <cstdint>
#include <limits>

#include "cuda/sweep.cuh"
#include "cuda/tiles.hpp"

// What becomes of the scores of a tile. Each thread keeps a slot for each of its rows (or sites); the 16 threads that
// share one put theirs together when all tiles have been seen.
namespace steppe::cuda {

template <class T>
__device__ constexpr T kInfinite = std::numeric_limits<T>::infinity();

// labels[row] = the site of the smallest score, the lowest among equals.
template <class Form>
struct Nearest {
  using T = typename Form::Scalar;
  struct Slot {
    T score;
    int site;
  };
  std::int64_t n_rows;
  std::int32_t* labels;

  __device__ void open(Slot* slots) const {
    for (int i = 0; i < Form::kSide; ++i) slots[i * kThreads + threadIdx.x] = {kInfinite<T>, 0};
  }

  __device__ void take(Slot* slots, const T (&scores)[Form::kSide][Form::kSide], std::int64_t, int site0) const {
    const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < Form::kSide; ++i) {
      Slot best = slots[i * kThreads + thread];
#pragma unroll
      for (int j = 0; j < Form::kSide; ++j) {
        if (scores[i][j] < best.score) best = {scores[i][j], site0 + Form::site(thread, j)};
      }
      slots[i * kThreads + thread] = best;
    }
  }

  __device__ void close(const Slot* slots, std::int64_t row0) const {
    const int row = static_cast<int>(threadIdx.x);
    if (row >= Form::kWidth || row0 + row >= n_rows) return;
    Slot best{kInfinite<T>, 0};
    for (int sharer = 0; sharer < kSharers; ++sharer) {
      const Slot other = slots[Form::place_of_row(row) * kThreads + Form::holder_of_row(row, sharer)];
      const bool lower = other.score == best.score && other.site < best.site;
      if (other.score < best.score || lower) best = other;
    }
    labels[row0 + row] = best.site;
  }

  __device__ void finish() const {}
};

// The smallest score of each row, and weight / sum_j exp(-steepness (score_j - smallest)): what Shares wants. Sums of
// the smallest scores and of the logarithms of the sums, each times its weight, of each thread of each block.
template <class Form>
struct SoftMinimum {
  using T = typename Form::Scalar;
  struct Slot {
    T least, sum;
  };
  std::int64_t n_rows;
  T steepness;
  const T* weights;  // null: ones
  std::int64_t weight_stride;
  T* least;
  T* factor;
  double* sums;  // blocks x threads x 2
  double score_sum = 0, log_sum = 0;

  __device__ void open(Slot* slots) const {
    for (int i = 0; i < Form::kSide; ++i) slots[i * kThreads + threadIdx.x] = {kInfinite<T>, 0};
  }

  __device__ void take(Slot* slots, const T (&scores)[Form::kSide][Form::kSide], std::int64_t, int) const {
#pragma unroll
    for (int i = 0; i < Form::kSide; ++i) {
      const Slot before = slots[i * kThreads + threadIdx.x];
      T lowest = before.least;
#pragma unroll
      for (int j = 0; j < Form::kSide; ++j) lowest = min(lowest, scores[i][j]);
      if (lowest == kInfinite<T>) continue;  // beyond the last site
      T sum = before.sum * exponential(steepness * (lowest - before.least));
#pragma unroll
      for (int j = 0; j < Form::kSide; ++j) sum += exponential(steepness * (lowest - scores[i][j]));
      slots[i * kThreads + threadIdx.x] = {lowest, sum};
    }
  }

  __device__ void close(const Slot* slots, std::int64_t row0) {
    const int row = static_cast<int>(threadIdx.x);
    if (row >= Form::kWidth || row0 + row >= n_rows) return;
    const auto slot = [&](int sharer) {
      return slots[Form::place_of_row(row) * kThreads + Form::holder_of_row(row, sharer)];
    };
    T lowest = kInfinite<T>, sum = 0;
    for (int sharer = 0; sharer < kSharers; ++sharer) lowest = min(lowest, slot(sharer).least);
    for (int sharer = 0; sharer < kSharers; ++sharer) {
      if (slot(sharer).sum > 0) sum += slot(sharer).sum * exponential(steepness * (lowest - slot(sharer).least));
    }
    const T weight = weights == nullptr ? T(1) : weights[(row0 + row) * weight_stride];
    least[row0 + row] = lowest;
    factor[row0 + row] = weight / sum;
    score_sum += static_cast<double>(weight) * static_cast<double>(lowest);
    log_sum += static_cast<double>(weight) * log(static_cast<double>(sum));
  }

  __device__ void finish() const {
    double* const mine = sums + 2 * (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x);
    mine[0] = score_sum;
    mine[1] = log_sum;
  }
};

// masses[block][site] += factor exp(-steepness (score - smallest)) over the block's rows, in the order of its tiles:
// the same for the same grid.
template <class Form>
struct Shares {
  using T = typename Form::Scalar;
  using Slot = T;
  std::int64_t n_rows, padded_sites;
  T steepness;
  const T* least;
  const T* factor;
  double* masses;

  __device__ void open(Slot*) const {}

  __device__ void take(Slot* slots, const T (&scores)[Form::kSide][Form::kSide], std::int64_t row0, int site0) const {
    const int thread = static_cast<int>(threadIdx.x);
    T shares[Form::kSide] = {};
#pragma unroll
    for (int i = 0; i < Form::kSide; ++i) {
      const std::int64_t row = row0 + Form::row(thread, i);
      if (row >= n_rows) continue;
      const T lowest = least[row], weight = factor[row];
#pragma unroll
      for (int j = 0; j < Form::kSide; ++j) shares[j] += weight * exponential(steepness * (lowest - scores[i][j]));
    }
#pragma unroll
    for (int j = 0; j < Form::kSide; ++j) slots[j * kThreads + thread] = shares[j];
    __syncthreads();
    if (thread < Form::kWidth) {
      double mass = 0;
      for (int sharer = 0; sharer < kSharers; ++sharer) {
        mass +=
            static_cast<double>(slots[Form::place_of_site(thread) * kThreads + Form::holder_of_site(thread, sharer)]);
      }
      masses[blockIdx.x * padded_sites + site0 + thread] += mass;
    }
  }

  __device__ void close(const Slot*, std::int64_t) const {}
  __device__ void finish() const {}
};

}  // namespace steppe::cuda
