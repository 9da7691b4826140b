#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "steppe/core/views.hpp"

namespace steppe::kernels {

// Sites stand in panels of this many, feature-major, so that one register of rows meets a panel by broadcasts.
inline constexpr std::size_t kSitePanel = 8;

// Sites y_j and potentials phi_j as the kernels read them: moved to a centre and scaled by a power of two, so that no
// square overflows or vanishes (models/ot/site_pack makes them). With x' = scale x - centre the score of a site is
//   squared:  offset_j - x'.y'_j            = scale^2 (|x - y_j|^2 - phi_j) / 2 - |x'|^2 / 2 + constant
//   else:     |x' - y'_j| + offset_j        = scale (|x - y_j| - phi_j) + constant
// and the constants do not depend on the site: the smallest score belongs to the site of the cell.
template <class T>
struct SitesView {
  const T* panels = nullptr;   // -y'_j: panels[(panel * n_features + k) * kSitePanel + site]; zero beyond the last site
  const T* offsets = nullptr;  // whole panels; infinite beyond the last site
  const T* centre = nullptr;   // n_features, scaled
  T scale = 1;
  std::size_t n_sites = 0, n_features = 0;
  bool squared = true;

  std::size_t n_panels() const noexcept { return (n_sites + kSitePanel - 1) / kSitePanel; }
};

// Rows that are worked on at a time; blocks of rows are best multiples of it.
template <class T>
std::size_t row_tile() noexcept;

// Numbers of T that assign_rows wants as scratch, at the start of a cache line.
template <class T>
std::size_t assign_scratch(std::size_t n_features) noexcept;

// labels[i] = the site of the smallest score of row i, the lowest among equals. Each row's result depends on nothing
// but the row and the sites.
template <class T>
void assign_rows(MatrixView<const T> x, const SitesView<T>& sites, std::span<std::int32_t> labels, T* scratch);

template <class T>
std::size_t spread_scratch(const SitesView<T>& sites) noexcept;

// What spread_rows adds up over its rows, each times its weight.
struct SpreadSums {
  std::span<double> mass;         // of each site: p_ij
  double score = 0;               // the smallest score of a row
  double log_sum = 0;             // log sum_j exp(-steepness (score_ij - smallest))
  std::span<double> moments;      // n_sites x n_features: w_ij x'_i; may be empty
  std::span<double> moment_mass;  // n_sites: w_ij; with moments
};

// The soft assignment p_ij = exp(-steepness score_ij) / sum_k exp(-steepness score_ik) of each row, added up. The
// moments' w is p for squared costs and else p_ij / |x' - y'_j|, 0 where that is 0 / 0. A row far beyond the sites goes
// to its cell whole.
template <class T>
void spread_rows(MatrixView<const T> x, const T* row_weights, const SitesView<T>& sites, T steepness, SpreadSums& sums,
                 T* scratch);

}  // namespace steppe::kernels
