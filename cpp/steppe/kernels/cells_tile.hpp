#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "steppe/kernels/cells.hpp"
#include "steppe/kernels/vector_width.hpp"

// Registers hold rows, not sites: the accumulators of a tile of rows by some sites start at the sites' offsets and take
// one multiply-add for each feature. No lane ever looks at another. Everything is inlined into a function of each
// vector width.
namespace steppe::kernels::cells {

// Beyond this times the sites' own extent a row is far: products might overflow, and it is scaled by itself.
template <class T>
constexpr T far_limit() {
  return static_cast<T>(std::numeric_limits<T>::max_exponent == 128 ? 0x1p56 : 0x1p504);
}

// Rows of the user's lie anywhere: unlike load and store these ask for no alignment with any compiler.
template <class V, class T>
[[gnu::always_inline]] inline void read(V& v, const T* from) {
  __builtin_memcpy(&v, from, sizeof(V));
}
template <class V, class T>
[[gnu::always_inline]] inline void write(T* to, const V& v) {
  __builtin_memcpy(to, &v, sizeof(V));
}

// The library is compiled without errno for sqrt, so this is one instruction.
template <class T, class V>
[[gnu::always_inline]] inline void take_roots(V& v) {
  T lanes[sizeof(V) / sizeof(T)];
  write(lanes, v);
#pragma omp simd
  for (std::size_t l = 0; l < sizeof(V) / sizeof(T); ++l) lanes[l] = std::sqrt(lanes[l]);
  read(v, lanes);
}

template <class T, std::size_t Bytes>
struct Tile {
  using V = Vec<T, Bytes>;
  using Index = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;
  using I = Vec<Index, Bytes>;
  static constexpr std::size_t kLanes = VectorOf<T, Bytes>::lanes;
  static constexpr std::size_t kVectors = Bytes == 16 ? 2 : 3;  // of rows
  static constexpr std::size_t kSites = Bytes == 64 ? 8 : 4;    // at once: all accumulators stay in registers
  static constexpr std::size_t kRows = kVectors * kLanes;
};

// xt[k * kRows + r] = x'_rk; rows beyond the last repeat it.
template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void transpose_tile(MatrixView<const T> x, std::size_t first, const SitesView<T>& sites,
                                                  T* xt) {
  constexpr std::size_t kRows = Tile<T, Bytes>::kRows;
  const std::size_t d = x.cols(), last = x.rows() - 1;
  for (std::size_t r = 0; r < kRows; r += 4) {
    const T* rows[4];
    for (std::size_t q = 0; q < 4; ++q) rows[q] = x.data() + std::min(first + r + q, last) * x.stride();
    std::size_t k = 0;
    for (; k + 4 <= d; k += 4) {
      Quad<T> a, b, c, e, centre;
      read(a, rows[0] + k);
      read(b, rows[1] + k);
      read(c, rows[2] + k);
      read(e, rows[3] + k);
      read(centre, sites.centre + k);
      const Quad<T> ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5),
                    ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Quad<T> ce_low = __builtin_shufflevector(c, e, 0, 4, 1, 5),
                    ce_high = __builtin_shufflevector(c, e, 2, 6, 3, 7);
      T* to = xt + k * kRows + r;
      const T s = sites.scale;
      write(to, Quad<T>(__builtin_shufflevector(ab_low, ce_low, 0, 1, 4, 5) * s - centre[0]));
      write(to + kRows, Quad<T>(__builtin_shufflevector(ab_low, ce_low, 2, 3, 6, 7) * s - centre[1]));
      write(to + 2 * kRows, Quad<T>(__builtin_shufflevector(ab_high, ce_high, 0, 1, 4, 5) * s - centre[2]));
      write(to + 3 * kRows, Quad<T>(__builtin_shufflevector(ab_high, ce_high, 2, 3, 6, 7) * s - centre[3]));
    }
    for (; k < d; ++k) {
      for (std::size_t q = 0; q < 4; ++q) xt[k * kRows + r + q] = rows[q][k] * sites.scale - sites.centre[k];
    }
  }
}

// Scores of a tile of rows for kSites sites from `site` of a panel on.
template <class T, std::size_t Bytes, bool kSquared>
[[gnu::always_inline]] inline void score_tile(
    const T* xt, const T* panel, const T* offsets, std::size_t d,
    Vec<T, Bytes> (&score)[Tile<T, Bytes>::kSites][Tile<T, Bytes>::kVectors]) {
  using Shape = Tile<T, Bytes>;
  using V = typename Shape::V;
  for (std::size_t s = 0; s < Shape::kSites; ++s) {
    for (std::size_t v = 0; v < Shape::kVectors; ++v) score[s][v] = V{} + (kSquared ? offsets[s] : T(0));
  }
  for (std::size_t k = 0; k < d; ++k) {
    V x[Shape::kVectors];
    for (std::size_t v = 0; v < Shape::kVectors; ++v) read(x[v], xt + k * Shape::kRows + v * Shape::kLanes);
    for (std::size_t s = 0; s < Shape::kSites; ++s) {
      const T y = panel[k * kSitePanel + s];
      for (std::size_t v = 0; v < Shape::kVectors; ++v) {
        if constexpr (kSquared) {
          score[s][v] += x[v] * y;
        } else {
          const V difference = x[v] + y;
          score[s][v] += difference * difference;
        }
      }
    }
  }
  if constexpr (!kSquared) {
    for (std::size_t s = 0; s < Shape::kSites; ++s) {
      for (std::size_t v = 0; v < Shape::kVectors; ++v) {
        take_roots<T>(score[s][v]);
        score[s][v] += offsets[s];
      }
    }
  }
}

// consume(first site, scores) for all sites, in order.
template <class T, std::size_t Bytes, bool kSquared, class F>
[[gnu::always_inline]] inline void for_each_score(const T* xt, const SitesView<T>& sites, F&& consume) {
  using Shape = Tile<T, Bytes>;
  for (std::size_t p = 0; p < sites.n_panels(); ++p) {
    for (std::size_t s = 0; s < kSitePanel; s += Shape::kSites) {
      typename Shape::V score[Shape::kSites][Shape::kVectors];
      score_tile<T, Bytes, kSquared>(xt, sites.panels + p * sites.n_features * kSitePanel + s,
                                     sites.offsets + p * kSitePanel + s, sites.n_features, score);
      consume(p * kSitePanel + s, score);
    }
  }
}

template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline bool tile_is_near(const T* xt, std::size_t d) {
  using Shape = Tile<T, Bytes>;
  typename Shape::V most{};
  for (std::size_t e = 0; e < d * Shape::kRows; e += Shape::kLanes) {
    typename Shape::V v;
    read(v, xt + e);
    const typename Shape::V size = v < 0 ? -v : v;
    most = size <= most ? most : size;
  }
  bool near = true;
  for (std::size_t l = 0; l < Shape::kLanes; ++l) near &= most[l] <= far_limit<T>();
  return near;
}

}  // namespace steppe::kernels::cells
