#include <algorithm>
#include <cmath>
#include <limits>

#include "steppe/kernels/cells.hpp"
#include "steppe/kernels/cells_far.hpp"
#include "steppe/kernels/cells_tile.hpp"
#include "steppe/kernels/exponential.hpp"

namespace steppe::kernels {
namespace cells {
namespace {

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
          write(scores + (site + s) * kRows + v * Shape::kLanes, score[s][v]);
        }
      }
    });
    for (std::size_t v = 0; v < Shape::kVectors; ++v) write(best + v * Shape::kLanes, least[v]);
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
void spread_base(MatrixView<const T> x, const T* weights, const SitesView<T>& sites, T steepness, SpreadSums& sums,
                 T* xt) {
  spread_any<T, 16>(x, weights, sites, steepness, sums, xt);
}

#if defined(__x86_64__) && defined(__GNUC__)
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

}  // namespace
}  // namespace cells

template <class T>
std::size_t spread_scratch(const SitesView<T>& sites) noexcept {
  return (sites.n_features + sites.n_panels() * kSitePanel) * row_tile<T>() + sites.n_features;
}

template <class T>
void spread_rows(MatrixView<const T> x, const T* row_weights, const SitesView<T>& sites, T steepness, SpreadSums& sums,
                 T* scratch) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_bytes() == 64) return cells::spread_v4(x, row_weights, sites, steepness, sums, scratch);
  if (vector_bytes() == 32) return cells::spread_v3(x, row_weights, sites, steepness, sums, scratch);
#endif
  cells::spread_base(x, row_weights, sites, steepness, sums, scratch);
}

template std::size_t spread_scratch(const SitesView<float>&) noexcept;
template std::size_t spread_scratch(const SitesView<double>&) noexcept;
template void spread_rows(MatrixView<const float>, const float*, const SitesView<float>&, float, SpreadSums&, float*);
template void spread_rows(MatrixView<const double>, const double*, const SitesView<double>&, double, SpreadSums&,
                          double*);

}  // namespace steppe::kernels
