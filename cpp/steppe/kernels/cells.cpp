#include "steppe/kernels/cells.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "steppe/kernels/exponential.hpp"
#include "steppe/kernels/vector_width.hpp"

// Registers hold rows, not sites: the accumulators of a tile of rows by some sites start at the sites' offsets and take
// one multiply-add for each feature; then a comparison and two blends an accumulator keep each lane's smallest score
// and its site. No lane ever looks at another, and no score is written to memory.
namespace steppe::kernels {
namespace {

// Beyond this times the sites' own extent a row is far: products might overflow, and it is scaled by itself.
template <class T>
constexpr T far_limit() {
  return static_cast<T>(std::numeric_limits<T>::max_exponent == 128 ? 0x1p56 : 0x1p504);
}

// The library is compiled without errno for sqrt, so this is one instruction.
template <class T, class V>
[[gnu::always_inline]] inline void take_roots(V& v) {
  T lanes[sizeof(V) / sizeof(T)];
  store(lanes, v);
#pragma omp simd
  for (std::size_t l = 0; l < sizeof(V) / sizeof(T); ++l) lanes[l] = std::sqrt(lanes[l]);
  load(v, lanes);
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
      load(a, rows[0] + k);
      load(b, rows[1] + k);
      load(c, rows[2] + k);
      load(e, rows[3] + k);
      load(centre, sites.centre + k);
      const Quad<T> ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5),
                    ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Quad<T> ce_low = __builtin_shufflevector(c, e, 0, 4, 1, 5),
                    ce_high = __builtin_shufflevector(c, e, 2, 6, 3, 7);
      T* to = xt + k * kRows + r;
      const T s = sites.scale;
      store(to, Quad<T>(__builtin_shufflevector(ab_low, ce_low, 0, 1, 4, 5) * s - centre[0]));
      store(to + kRows, Quad<T>(__builtin_shufflevector(ab_low, ce_low, 2, 3, 6, 7) * s - centre[1]));
      store(to + 2 * kRows, Quad<T>(__builtin_shufflevector(ab_high, ce_high, 0, 1, 4, 5) * s - centre[2]));
      store(to + 3 * kRows, Quad<T>(__builtin_shufflevector(ab_high, ce_high, 2, 3, 6, 7) * s - centre[3]));
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
    for (std::size_t v = 0; v < Shape::kVectors; ++v) load(x[v], xt + k * Shape::kRows + v * Shape::kLanes);
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

template <class T>
std::int32_t assign_far_row(const T* x, const SitesView<T>& sites, T* scaled) {
  // The row times 2^-exponent; offsets shrink by as much, relative to the sites' own scale.
  int exponent = std::numeric_limits<T>::min_exponent;
  for (std::size_t k = 0; k < sites.n_features; ++k) {
    if (x[k] != 0) exponent = std::max(exponent, std::ilogb(x[k]));
  }
  const int scale_exponent = std::ilogb(sites.scale);
  const T shrink = std::ldexp(T(1), -(exponent + scale_exponent));
  for (std::size_t k = 0; k < sites.n_features; ++k) {
    scaled[k] = std::ldexp(x[k], -exponent) - std::ldexp(sites.centre[k], -(exponent + scale_exponent));
  }
  std::int32_t label = 0;
  T best = std::numeric_limits<T>::infinity();
  for (std::size_t j = 0; j < sites.n_sites; ++j) {
    const T* y = sites.panels + (j / kSitePanel) * sites.n_features * kSitePanel + j % kSitePanel;
    T sum = sites.squared ? sites.offsets[j] * shrink : T(0);
    for (std::size_t k = 0; k < sites.n_features; ++k) {
      if (sites.squared) {
        sum += scaled[k] * y[k * kSitePanel];
      } else {
        const T difference = scaled[k] + y[k * kSitePanel] * shrink;
        sum += difference * difference;
      }
    }
    if (!sites.squared) sum = std::sqrt(sum) + sites.offsets[j] * shrink;
    if (sum < best) {
      best = sum;
      label = static_cast<std::int32_t>(j);
    }
  }
  return label;
}

template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline bool tile_is_near(const T* xt, std::size_t d) {
  using Shape = Tile<T, Bytes>;
  typename Shape::V most{};
  for (std::size_t e = 0; e < d * Shape::kRows; e += Shape::kLanes) {
    typename Shape::V v;
    load(v, xt + e);
    const typename Shape::V size = v < 0 ? -v : v;
    most = size <= most ? most : size;
  }
  bool near = true;
  for (std::size_t l = 0; l < Shape::kLanes; ++l) near &= most[l] <= far_limit<T>();
  return near;
}

template <class T>
bool row_is_far(std::span<const T> row, const SitesView<T>& sites) {
  for (std::size_t k = 0; k < row.size(); ++k) {
    if (!(std::abs(row[k] * sites.scale - sites.centre[k]) <= far_limit<T>())) return true;
  }
  return false;
}

template <class T>
void assign_far_rows(MatrixView<const T> x, std::size_t first, std::size_t last, const SitesView<T>& sites,
                     std::int32_t* labels, T* scratch) {
  for (std::size_t i = first; i < last; ++i) {
    if (row_is_far(x.row(i), sites)) labels[i] = assign_far_row(x.row(i).data(), sites, scratch);
  }
}

template <class T, std::size_t Bytes, bool kSquared>
[[gnu::always_inline]] inline void assign(MatrixView<const T> x, const SitesView<T>& sites, std::int32_t* labels,
                                          T* xt) {
  using Shape = Tile<T, Bytes>;
  using V = typename Shape::V;
  using I = typename Shape::I;
  for (std::size_t first = 0; first < x.rows(); first += Shape::kRows) {
    transpose_tile<T, Bytes>(x, first, sites, xt);
    V best[Shape::kVectors];
    I label[Shape::kVectors] = {};
    for (std::size_t v = 0; v < Shape::kVectors; ++v) best[v] = V{} + std::numeric_limits<T>::infinity();
    for_each_score<T, Bytes, kSquared>(xt, sites, [&](std::size_t site, auto& score) __attribute__((always_inline)) {
      for (std::size_t s = 0; s < Shape::kSites; ++s) {
        const I number = I{} + static_cast<typename Shape::Index>(site + s);
        for (std::size_t v = 0; v < Shape::kVectors; ++v) {
          const auto smaller = score[s][v] < best[v];
          best[v] = smaller ? score[s][v] : best[v];
          label[v] = smaller ? number : label[v];
        }
      }
    });
    const std::size_t last = std::min(first + Shape::kRows, x.rows());
    for (std::size_t v = 0; v < Shape::kVectors; ++v) {
      for (std::size_t l = 0; l < Shape::kLanes && first + v * Shape::kLanes + l < last; ++l) {
        labels[first + v * Shape::kLanes + l] = static_cast<std::int32_t>(label[v][l]);
      }
    }
    if (!tile_is_near<T, Bytes>(xt, x.cols())) assign_far_rows(x, first, last, sites, labels, xt);
  }
}

// A site whose every share in a tile is below this rounds to nothing beside the nearest site's.
template <class T>
inline constexpr T kFaint = sizeof(T) == 4 ? T(-24) : T(-46);
template <class T>
inline constexpr T kNone = T(-1);  // marks the exponentials of such a site

// Exponentials of a tile's scores in place, their sum over the sites for each row.
template <class T, std::size_t kRows>
[[gnu::always_inline]] inline void exponentiate(T* scores, std::size_t n_sites, const T* best, T steepness, T* sum) {
  for (std::size_t r = 0; r < kRows; ++r) sum[r] = 0;
  for (std::size_t j = 0; j < n_sites; ++j) {
    T* e = scores + j * kRows;
    T most = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : most)
    for (std::size_t r = 0; r < kRows; ++r) most = best[r] - e[r] > most ? best[r] - e[r] : most;
    if (steepness * most < kFaint<T>) {
      e[0] = kNone<T>;
      continue;
    }
#pragma omp simd
    for (std::size_t r = 0; r < kRows; ++r) {
      e[r] = exponential(steepness * (best[r] - e[r]));
      sum[r] += e[r];
    }
  }
}

// weight . e of one site, and with moments what the tile adds to the site's.
template <class T, std::size_t kRows>
[[gnu::always_inline]] inline T weigh(T* e, const T* weight) {
  T mass = 0;
#pragma omp simd reduction(+ : mass)
  for (std::size_t r = 0; r < kRows; ++r) {
    e[r] *= weight[r];
    mass += e[r];
  }
  return mass;
}

template <class T, std::size_t kRows>
[[gnu::always_inline]] inline void divide_by_distance(T* e, const T* xt, const SitesView<T>& sites, const T* y) {
  T square[kRows] = {};
  for (std::size_t k = 0; k < sites.n_features; ++k) {
#pragma omp simd
    for (std::size_t r = 0; r < kRows; ++r) {
      const T difference = xt[k * kRows + r] + y[k * kSitePanel];
      square[r] += difference * difference;
    }
  }
#pragma omp simd
  for (std::size_t r = 0; r < kRows; ++r) e[r] = square[r] > T(0) ? e[r] / std::sqrt(square[r]) : T(0);
}

template <class T, std::size_t kRows>
[[gnu::always_inline]] inline void add_moments(const T* w, const T* xt, std::size_t d, double* moments, double& mass) {
  T total = 0;
  for (std::size_t r = 0; r < kRows; ++r) total += w[r];
  mass += static_cast<double>(total);
  for (std::size_t k = 0; k < d; ++k) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::size_t r = 0; r < kRows; ++r) sum += w[r] * xt[k * kRows + r];
    moments[k] += static_cast<double>(sum);
  }
}

// A far row takes part as a row of weight 0 at the centre, and its weight goes to its cell. Its score is of T's range
// squared, so it is added in double.
template <class T>
void spread_far_row(const T* x, T weight, const SitesView<T>& sites, SpreadSums& sums, T* scaled) {
  const auto j = static_cast<std::size_t>(assign_far_row(x, sites, scaled));
  const T* y = sites.panels + (j / kSitePanel) * sites.n_features * kSitePanel + j % kSitePanel;
  double score = 0;
  for (std::size_t k = 0; k < sites.n_features; ++k) {
    const double at = double{x[k]} * double{sites.scale} - double{sites.centre[k]}, to = double{y[k * kSitePanel]};
    score += sites.squared ? at * to : (at + to) * (at + to);
  }
  score = (sites.squared ? score : std::sqrt(score)) + double{sites.offsets[j]};
  sums.mass[j] += double{weight};
  sums.score += double{weight} * score;
}

template <class T, std::size_t kRows>
void take_out_far_rows(MatrixView<const T> x, std::size_t first, const SitesView<T>& sites, T* weight, T* xt,
                       SpreadSums& sums, T* scaled) {
  for (std::size_t r = 0; r < kRows; ++r) {
    const auto row = x.row(std::min(first + r, x.rows() - 1));
    if (!row_is_far(row, sites)) continue;
    if (weight[r] > 0) spread_far_row(row.data(), weight[r], sites, sums, scaled);
    weight[r] = 0;
    for (std::size_t k = 0; k < x.cols(); ++k) xt[k * kRows + r] = 0;
  }
}

template <class T, std::size_t Bytes, bool kSquared>
[[gnu::always_inline]] inline void spread(MatrixView<const T> x, const T* row_weights, const SitesView<T>& sites,
                                          T steepness, SpreadSums& sums, T* xt) {
  using Shape = Tile<T, Bytes>;
  constexpr std::size_t kRows = Shape::kRows;
  T* const scores = xt + x.cols() * kRows;
  T* const spare = scores + sites.n_panels() * kSitePanel * kRows;
  for (std::size_t first = 0; first < x.rows(); first += kRows) {
    T weight[kRows], best[kRows], sum[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      weight[r] = first + r >= x.rows() ? T(0) : row_weights != nullptr ? row_weights[first + r] : T(1);
    }
    transpose_tile<T, Bytes>(x, first, sites, xt);
    if (!tile_is_near<T, Bytes>(xt, x.cols())) take_out_far_rows<T, kRows>(x, first, sites, weight, xt, sums, spare);
    typename Shape::V least[Shape::kVectors];
    for (std::size_t v = 0; v < Shape::kVectors; ++v)
      least[v] = typename Shape::V{} + std::numeric_limits<T>::infinity();
    for_each_score<T, Bytes, kSquared>(xt, sites, [&](std::size_t site, auto& score) __attribute__((always_inline)) {
      for (std::size_t s = 0; s < Shape::kSites; ++s) {
        for (std::size_t v = 0; v < Shape::kVectors; ++v) {
          least[v] = score[s][v] < least[v] ? score[s][v] : least[v];
          store(scores + (site + s) * kRows + v * Shape::kLanes, score[s][v]);
        }
      }
    });
    for (std::size_t v = 0; v < Shape::kVectors; ++v) store(best + v * Shape::kLanes, least[v]);
    exponentiate<T, kRows>(scores, sites.n_sites, best, steepness, sum);
    for (std::size_t r = 0; r < kRows; ++r) {
      if (weight[r] == 0) continue;
      sums.score += double{weight[r]} * double{best[r]};
      sums.log_sum += double{weight[r]} * std::log(double{sum[r]});
      weight[r] /= sum[r];
    }
    for (std::size_t j = 0; j < sites.n_sites; ++j) {
      T* const e = scores + j * kRows;
      if (e[0] == kNone<T>) continue;
      const T mass = weigh<T, kRows>(e, weight);
      sums.mass[j] += static_cast<double>(mass);
      if (sums.moments.empty() || mass == 0) continue;
      const T* y = sites.panels + (j / kSitePanel) * x.cols() * kSitePanel + j % kSitePanel;
      if (!kSquared) divide_by_distance<T, kRows>(e, xt, sites, y);
      add_moments<T, kRows>(e, xt, x.cols(), sums.moments.data() + j * x.cols(), sums.moment_mass[j]);
    }
  }
}

template <class T>
struct Kernels {
  void (*assign)(MatrixView<const T>, const SitesView<T>&, std::int32_t*, T*);
  void (*spread)(MatrixView<const T>, const T*, const SitesView<T>&, T, SpreadSums&, T*);
  std::size_t rows;
};

template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void assign_any(MatrixView<const T> x, const SitesView<T>& sites, std::int32_t* labels,
                                              T* xt) {
  if (sites.squared) {
    assign<T, Bytes, true>(x, sites, labels, xt);
  } else {
    assign<T, Bytes, false>(x, sites, labels, xt);
  }
}
template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void spread_any(MatrixView<const T> x, const T* weights, const SitesView<T>& sites,
                                              T steepness, SpreadSums& sums, T* xt) {
  if (sites.squared) {
    spread<T, Bytes, true>(x, weights, sites, steepness, sums, xt);
  } else {
    spread<T, Bytes, false>(x, weights, sites, steepness, sums, xt);
  }
}

template <class T>
void assign_base(MatrixView<const T> x, const SitesView<T>& sites, std::int32_t* labels, T* xt) {
  assign_any<T, 16>(x, sites, labels, xt);
}
template <class T>
void spread_base(MatrixView<const T> x, const T* weights, const SitesView<T>& sites, T steepness, SpreadSums& sums,
                 T* xt) {
  spread_any<T, 16>(x, weights, sites, steepness, sums, xt);
}

#if defined(__x86_64__) && defined(__GNUC__)
template <class T>
__attribute__((target("arch=x86-64-v4"))) void assign_v4(MatrixView<const T> x, const SitesView<T>& sites,
                                                         std::int32_t* labels, T* xt) {
  assign_any<T, 64>(x, sites, labels, xt);
}
template <class T>
__attribute__((target("arch=x86-64-v3"))) void assign_v3(MatrixView<const T> x, const SitesView<T>& sites,
                                                         std::int32_t* labels, T* xt) {
  assign_any<T, 32>(x, sites, labels, xt);
}
template <class T>
__attribute__((target("arch=x86-64-v4"))) void spread_v4(MatrixView<const T> x, const T* weights,
                                                         const SitesView<T>& sites, T steepness, SpreadSums& sums,
                                                         T* xt) {
  spread_any<T, 64>(x, weights, sites, steepness, sums, xt);
}
template <class T>
__attribute__((target("arch=x86-64-v3"))) void spread_v3(MatrixView<const T> x, const T* weights,
                                                         const SitesView<T>& sites, T steepness, SpreadSums& sums,
                                                         T* xt) {
  spread_any<T, 32>(x, weights, sites, steepness, sums, xt);
}
#endif

template <class T>
Kernels<T> find_kernels() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_bytes() == 64) return {assign_v4<T>, spread_v4<T>, Tile<T, 64>::kRows};
  if (vector_bytes() == 32) return {assign_v3<T>, spread_v3<T>, Tile<T, 32>::kRows};
#endif
  return {assign_base<T>, spread_base<T>, Tile<T, 16>::kRows};
}

template <class T>
const Kernels<T>& kernels_here() {
  static const Kernels<T> found = find_kernels<T>();
  return found;
}

}  // namespace

template <class T>
std::size_t row_tile() noexcept {
  return kernels_here<T>().rows;
}

template <class T>
std::size_t assign_scratch(std::size_t n_features) noexcept {
  return std::max<std::size_t>(n_features, 1) * row_tile<T>();
}

template <class T>
void assign_rows(MatrixView<const T> x, const SitesView<T>& sites, std::span<std::int32_t> labels, T* scratch) {
  kernels_here<T>().assign(x, sites, labels.data(), scratch);
}

template <class T>
std::size_t spread_scratch(const SitesView<T>& sites) noexcept {
  return (sites.n_features + sites.n_panels() * kSitePanel) * row_tile<T>() + sites.n_features;
}

template <class T>
void spread_rows(MatrixView<const T> x, const T* row_weights, const SitesView<T>& sites, T steepness, SpreadSums& sums,
                 T* scratch) {
  kernels_here<T>().spread(x, row_weights, sites, steepness, sums, scratch);
}

template std::size_t row_tile<float>() noexcept;
template std::size_t row_tile<double>() noexcept;
template std::size_t assign_scratch<float>(std::size_t) noexcept;
template std::size_t assign_scratch<double>(std::size_t) noexcept;
template void assign_rows(MatrixView<const float>, const SitesView<float>&, std::span<std::int32_t>, float*);
template void assign_rows(MatrixView<const double>, const SitesView<double>&, std::span<std::int32_t>, double*);
template std::size_t spread_scratch(const SitesView<float>&) noexcept;
template std::size_t spread_scratch(const SitesView<double>&) noexcept;
template void spread_rows(MatrixView<const float>, const float*, const SitesView<float>&, float, SpreadSums&, float*);
template void spread_rows(MatrixView<const double>, const double*, const SitesView<double>&, double, SpreadSums&,
                          double*);

}  // namespace steppe::kernels
