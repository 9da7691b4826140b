#include "steppe/models/ot/site_pack.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace steppe {
namespace {

using kernels::kSitePanel;

// A site whose potential is lower than all distances allow would otherwise shrink the sites to nothing.
template <class T>
constexpr int kRoom = std::numeric_limits<T>::max_exponent == 128 ? 30 : 200;

template <class T>
constexpr int kMostExponent = std::numeric_limits<T>::max_exponent - 2;

// The mean of column k, to a quarter of the power of two below the column's extent.
template <class T>
T coarse_mean(MatrixView<const T> sites, std::size_t k) {
  const double n = static_cast<double>(sites.rows());
  double mean = 0;
  for (std::size_t j = 0; j < sites.rows(); ++j) mean += static_cast<double>(sites(j, k)) / n;
  double extent = 0;
  for (std::size_t j = 0; j < sites.rows(); ++j) {
    extent = std::max(extent, std::abs(static_cast<double>(sites(j, k)) - mean));
  }
  bool constant = true;
  for (std::size_t j = 1; j < sites.rows(); ++j) constant &= sites(j, k) == sites(0, k);
  if (constant) return sites(0, k);
  if (!std::isfinite(extent)) return T(0);
  const int exponent = std::ilogb(extent) - 2;
  const double steps = std::ldexp(mean, -exponent);
  if (!std::isfinite(steps)) return T(0);
  return static_cast<T>(std::ldexp(std::nearbyint(steps), exponent));
}

}  // namespace

template <class T>
SitePack<T>::SitePack(MatrixView<const T> sites, bool squared)
    : sites_(sites), squared_(squared), centre_(sites.cols()) {
  const std::size_t padded_sites = (sites.rows() + kSitePanel - 1) / kSitePanel * kSitePanel;
  panels_.assign(padded_sites * sites.cols(), T(0));
  offsets_.assign(padded_sites, std::numeric_limits<T>::infinity());
  scaled_centre_.assign(sites.cols(), T(0));
  find_centre();
  set_potential({});
}

template <class T>
void SitePack<T>::find_centre() {
  for (std::size_t k = 0; k < sites_.cols(); ++k) centre_[k] = coarse_mean(sites_, k);
  const auto extent = [&] {
    T most = 0;
    for (std::size_t j = 0; j < sites_.rows(); ++j) {
      for (std::size_t k = 0; k < sites_.cols(); ++k) most = std::max(most, std::abs(sites_(j, k) - centre_[k]));
    }
    return most;
  };
  extent_ = extent();
  if (std::isfinite(extent_)) return;
  std::fill(centre_.begin(), centre_.end(), T(0));
  extent_ = extent();
}

template <class T>
void SitePack<T>::set_potential(std::span<const double> potential) {
  reference_ = potential.empty() ? 0 : *std::max_element(potential.begin(), potential.end());
  double most = 0;
  for (const double phi : potential) most = std::max(most, reference_ - phi);
  const double reach = squared_ ? std::sqrt(most) : most, extent = static_cast<double>(extent_);
  double size = extent > 0 ? std::max(extent, std::min(reach, std::ldexp(extent, kRoom<T>))) : reach;
  if (!(size > 0)) size = 1;
  const int exponent = std::isfinite(size) ? std::ilogb(size) : kMostExponent<T>;
  scale_ = std::ldexp(T(1), std::clamp(-exponent, -kMostExponent<T>, kMostExponent<T>));
  pack();
  const double scale = static_cast<double>(scale_), limit = static_cast<double>(std::numeric_limits<T>::max()) / 4;
  for (std::size_t j = 0; j < potential.size(); ++j) {
    const double below = (reference_ - potential[j]) * scale;
    const double offset = static_cast<double>(offsets_[j]) + (squared_ ? below * scale / 2 : below);
    offsets_[j] = static_cast<T>(std::min(offset, limit));
  }
}

// Panels and the offsets without potentials.
template <class T>
void SitePack<T>::pack() {
  const std::size_t d = sites_.cols();
  for (std::size_t k = 0; k < d; ++k) scaled_centre_[k] = centre_[k] * scale_;
  for (std::size_t j = 0; j < sites_.rows(); ++j) {
    T* panel = panels_.data() + (j / kSitePanel) * d * kSitePanel + j % kSitePanel;
    double square = 0;
    for (std::size_t k = 0; k < d; ++k) {
      const T y = sites_(j, k) * scale_ - scaled_centre_[k];
      panel[k * kSitePanel] = -y;
      square += static_cast<double>(y) * static_cast<double>(y);
    }
    offsets_[j] = squared_ ? static_cast<T>(square / 2) : T(0);
  }
}

template <class T>
kernels::SitesView<T> SitePack<T>::view() const noexcept {
  return {panels_.data(), offsets_.data(), scaled_centre_.data(), scale_, sites_.rows(), sites_.cols(), squared_};
}

template <class T>
double SitePack<T>::sum_of_costs(double score, double size, double weight) const noexcept {
  const double cost = squared_ ? 2 * score * unit() * unit() + size : score * unit();
  return cost - weight * reference_;
}

template <class T>
T SitePack<T>::steepness(double reg) const noexcept {
  const double steep = squared_ ? 2 * unit() * unit() / reg : unit() / reg;
  return static_cast<T>(std::min(steep, static_cast<double>(std::numeric_limits<T>::max()) / 4));
}

template <class T>
double SitePack<T>::size_of(std::span<const T> row) const noexcept {
  double square = 0;
  for (std::size_t k = 0; k < row.size(); ++k) {
    const double at = static_cast<double>(row[k] * scale_ - scaled_centre_[k]);
    square += at * at;
  }
  return square;
}

template class SitePack<float>;
template class SitePack<double>;

}  // namespace steppe
