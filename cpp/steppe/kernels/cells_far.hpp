#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "steppe/kernels/cells.hpp"
#include "steppe/kernels/cells_tile.hpp"

// Rows so far beyond the sites that products might overflow; each is scaled by itself.
namespace steppe::kernels::cells {

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

template <class T>
bool row_is_far(std::span<const T> row, const SitesView<T>& sites) {
  for (std::size_t k = 0; k < row.size(); ++k) {
    if (!(std::abs(row[k] * sites.scale - sites.centre[k]) <= far_limit<T>())) return true;
  }
  return false;
}

}  // namespace steppe::kernels::cells
