#pragma once

#include <cstddef>
#include <type_traits>

#include "steppe/core/access.hpp"
#include "steppe/core/aligned.hpp"
#include "steppe/kernels/rows.hpp"

namespace steppe::kernels {

// A block of classes lies feature-major: row j of its weights holds feature j's weight for every class ("lane") of the
// block, so a stored entry of X meets whole, contiguous cache lines. The number of lanes is a multiple of kLanes<T>;
// the lanes beyond the last class are zero and stay zero.

template <class T>
inline constexpr std::size_t kLanes = kCacheLine / sizeof(T);

template <class T>
using Lane [[gnu::vector_size(kCacheLine), gnu::may_alias]] = T;

// Up to eight vectors of lanes are summed in registers at a time. Vectors are typed by the extension that GCC and Clang
// share: the plain loop over an array of sums is not kept in registers by either.
template <std::size_t kVectors, class T>
[[gnu::always_inline]] inline void gather_tile(SparseRow<T> x, const T* weights, std::size_t lanes, T* scores) {
  Lane<T> sum[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) sum[v] = *reinterpret_cast<const Lane<T>*>(scores + v * kLanes<T>);
  for (std::size_t e = 0; e < x.size(); ++e) {
    const T value = x.values[e];
    const T* row = weights + static_cast<std::size_t>(x.indices[e]) * lanes;
    for (std::size_t v = 0; v < kVectors; ++v) sum[v] += value * *reinterpret_cast<const Lane<T>*>(row + v * kLanes<T>);
  }
  for (std::size_t v = 0; v < kVectors; ++v) *reinterpret_cast<Lane<T>*>(scores + v * kLanes<T>) = sum[v];
}

template <std::size_t kVectors, class T>
[[gnu::always_inline]] inline void scatter_tile(SparseRow<T> x, const T* step, std::size_t lanes, T* weights) {
  Lane<T> move[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) move[v] = *reinterpret_cast<const Lane<T>*>(step + v * kLanes<T>);
  for (std::size_t e = 0; e < x.size(); ++e) {
    const T value = x.values[e];
    T* row = weights + static_cast<std::size_t>(x.indices[e]) * lanes;
    for (std::size_t v = 0; v < kVectors; ++v) *reinterpret_cast<Lane<T>*>(row + v * kLanes<T>) += value * move[v];
  }
}

// f(number of vectors as a constant, first lane) for tiles that together cover all lanes.
template <class T, class F>
[[gnu::always_inline]] inline void for_each_tile(std::size_t lanes, F&& f) {
  std::size_t lane = 0;
  const auto tile = [&](auto vectors) __attribute__((always_inline)) {
    f(vectors, lane);
    lane += vectors() * kLanes<T>;
  };
  while (lane + 8 * kLanes<T> <= lanes) tile(std::integral_constant<std::size_t, 8>{});
  if (lane + 4 * kLanes<T> <= lanes) tile(std::integral_constant<std::size_t, 4>{});
  if (lane + 2 * kLanes<T> <= lanes) tile(std::integral_constant<std::size_t, 2>{});
  if (lane < lanes) tile(std::integral_constant<std::size_t, 1>{});
}

// scores[c] += sum_j x_j weights[j][c]
template <class Access, class T>
[[gnu::always_inline]] inline void add_scores(SparseRow<T> x, const T* weights, std::size_t lanes, T* scores) {
  if constexpr (std::is_same_v<Access, Exclusive>) {
    for_each_tile<T>(lanes, [&](auto vectors, std::size_t lane) __attribute__((always_inline)) {
      gather_tile<vectors()>(x, weights + lane, lanes, scores + lane);
    });
  } else {
    for (std::size_t e = 0; e < x.size(); ++e) {
      const T* row = weights + static_cast<std::size_t>(x.indices[e]) * lanes;
      for (std::size_t c = 0; c < lanes; ++c) scores[c] += x.values[e] * Access::load(row[c]);
    }
  }
}

// place += value, and nobody's addition is lost.
template <class Access, class T>
[[gnu::always_inline]] inline void add_to(T& place, T value) {
  if constexpr (std::is_same_v<Access, Exclusive>) {
    place += value;
  } else {
    std::atomic_ref<T>(place).fetch_add(value, std::memory_order_relaxed);
  }
}

// weights[j][c] += x_j step[c]
template <class Access, class T>
[[gnu::always_inline]] inline void add_outer(SparseRow<T> x, const T* step, std::size_t lanes, T* weights) {
  if constexpr (std::is_same_v<Access, Exclusive>) {
    for_each_tile<T>(lanes, [&](auto vectors, std::size_t lane) __attribute__((always_inline)) {
      scatter_tile<vectors()>(x, step + lane, lanes, weights + lane);
    });
  } else {
    for (std::size_t e = 0; e < x.size(); ++e) {
      T* row = weights + static_cast<std::size_t>(x.indices[e]) * lanes;
      for (std::size_t c = 0; c < lanes; ++c) {
        if (step[c] != 0) add_to<Access>(row[c], x.values[e] * step[c]);
      }
    }
  }
}

}  // namespace steppe::kernels
