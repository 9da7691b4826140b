#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/views.hpp"
#include "steppe/kernels/cells.hpp"

namespace steppe {

// Sites with potentials, as the kernels of the cells read them. The centre has few bits, so that moving to it rounds
// next to nothing: points on a grid keep their exact ties. Potentials count relative to the largest, so a constant added
// to all of them changes nothing.
template <class T>
class SitePack {
 public:
  SitePack(MatrixView<const T> sites, bool squared);

  // One number for each site, or none for zeros.
  void set_potential(std::span<const double> potential);

  kernels::SitesView<T> view() const noexcept;
  std::size_t size() const noexcept { return sites_.rows(); }

  // min_j c(x, y_j) - phi_j of a row with that smallest score, where `size` is |x'|^2.
  double cost_of(double score, double size) const noexcept;
  // The steepness of the scores that stands for exp(-cost / reg).
  T steepness(double reg) const noexcept;
  // |x'|^2
  double size_of(std::span<const T> row) const noexcept;
  // What x' and |x' - y'| are multiplied by for the originals' differences.
  double unit() const noexcept { return 1 / static_cast<double>(scale_); }
  double centre(std::size_t k) const noexcept { return static_cast<double>(centre_[k]); }

 private:
  void find_centre();
  void pack();

  MatrixView<const T> sites_;
  bool squared_;
  T extent_ = 0, scale_ = 1;
  double reference_ = 0;  // the largest potential
  std::vector<T> centre_;
  AlignedVector<T> panels_, offsets_, scaled_centre_;
};

extern template class SitePack<float>;
extern template class SitePack<double>;

}  // namespace steppe
