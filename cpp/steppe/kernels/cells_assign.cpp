#include <algorithm>
#include <limits>

#include "steppe/kernels/cells.hpp"
#include "steppe/kernels/cells_far.hpp"
#include "steppe/kernels/cells_tile.hpp"

namespace steppe::kernels {
namespace cells {
namespace {

template <class T>
void assign_far_rows(MatrixView<const T> x, std::size_t first, std::size_t last, const SitesView<T>& sites,
                     std::int32_t* labels, T* scratch) {
  for (std::size_t i = first; i < last; ++i) {
    if (row_is_far(x.row(i), sites)) labels[i] = assign_far_row(x.row(i).data(), sites, scratch);
  }
}

// A comparison and two blends an accumulator keep each lane's smallest score and its site; no score is written to
// memory.
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

template <class T, std::size_t Bytes>
[[gnu::always_inline]] inline void assign_any(MatrixView<const T> x, const SitesView<T>& sites, std::int32_t* labels,
                                              T* xt) {
  if (sites.squared) {
    assign<T, Bytes, true>(x, sites, labels, xt);
  } else {
    assign<T, Bytes, false>(x, sites, labels, xt);
  }
}

template <class T>
void assign_base(MatrixView<const T> x, const SitesView<T>& sites, std::int32_t* labels, T* xt) {
  assign_any<T, 16>(x, sites, labels, xt);
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
#endif

}  // namespace
}  // namespace cells

template <class T>
std::size_t row_tile() noexcept {
  if (vector_bytes() == 64) return cells::Tile<T, 64>::kRows;
  return vector_bytes() == 32 ? cells::Tile<T, 32>::kRows : cells::Tile<T, 16>::kRows;
}

template <class T>
std::size_t assign_scratch(std::size_t n_features) noexcept {
  return std::max<std::size_t>(n_features, 1) * row_tile<T>();
}

template <class T>
void assign_rows(MatrixView<const T> x, const SitesView<T>& sites, std::span<std::int32_t> labels, T* scratch) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (vector_bytes() == 64) return cells::assign_v4(x, sites, labels.data(), scratch);
  if (vector_bytes() == 32) return cells::assign_v3(x, sites, labels.data(), scratch);
#endif
  cells::assign_base(x, sites, labels.data(), scratch);
}

template std::size_t row_tile<float>() noexcept;
template std::size_t row_tile<double>() noexcept;
template std::size_t assign_scratch<float>(std::size_t) noexcept;
template std::size_t assign_scratch<double>(std::size_t) noexcept;
template void assign_rows(MatrixView<const float>, const SitesView<float>&, std::span<std::int32_t>, float*);
template void assign_rows(MatrixView<const double>, const SitesView<double>&, std::span<std::int32_t>, double*);

}  // namespace steppe::kernels
