#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "cuda/sweep.cuh"
#include "cuda/tiles.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/core/views.hpp"
#include "steppe/kernels/cells.hpp"

// What the host prepares for a sweep.
namespace steppe::cuda {

// Sites by rows, padded so that every form of tile reads whole ones.
template <class T>
struct SiteRows {
  std::vector<T> values, offsets, centre;
  T scale = 1;
  std::size_t n_sites = 0, depth = 0;

  void take(const kernels::SitesView<T>& sites) {
    constexpr std::size_t most = std::numeric_limits<std::int32_t>::max() - TensorTile::kWidth;
    const std::size_t m = sites.n_sites, d = sites.n_features;
    require(m <= most && d <= most, "sites: are too many, or have too many columns, for the device");
    depth = padded_to(d, TensorTile::kDepth);
    values.assign(m * depth, T(0));
    for (std::size_t j = 0; j < m; ++j) {
      const T* const panel = sites.panels + j / kernels::kSitePanel * d * kernels::kSitePanel + j % kernels::kSitePanel;
      for (std::size_t k = 0; k < d; ++k) values[j * depth + k] = panel[k * kernels::kSitePanel];
    }
    offsets.assign(padded_to(m, TensorTile::kWidth), std::numeric_limits<T>::infinity());
    std::copy_n(sites.offsets, m, offsets.begin());
    centre.assign(depth, T(0));
    std::copy_n(sites.centre, d, centre.begin());
    scale = sites.scale;
    n_sites = m;
  }
};

// Rows of the user's; they need not start on 16 bytes.
template <class T>
Operand<T> operand(MatrixView<const T> x) {
  constexpr std::size_t vector = Vector<T>::kSize;
  const bool whole = x.cols() % vector == 0 && x.stride() % vector == 0 &&
                     reinterpret_cast<std::uintptr_t>(x.data()) % sizeof(Vector<T>) == 0;
  return {x.data(), static_cast<std::int64_t>(x.rows()), static_cast<std::int64_t>(x.stride()),
          static_cast<int>(x.cols()), whole};
}

}  // namespace steppe::cuda
