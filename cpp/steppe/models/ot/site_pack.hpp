#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "steppe/core/aligned.hpp"
#include "steppe/core/views.hpp"
#include "steppe/kernels/cells.hpp"

namespace steppe {

// Sites with potentials, as the kernels of the cells read them. The centre has few bits, so that moving to it rounds
// next to nothing: points on a grid keep their exact ties. Potentials count relative to the largest, so a constant
// added to all of them changes nothing.
template <class T>
class SitePack {
 public:
  SitePack(MatrixView<const T> sites, bool squared);

  // One number for each site, or none for zeros.
  void set_potential(std::span<const double> potential);

  kernels::SitesView<T> view() const noexcept;
  std::size_t size() const noexcept { return sites_.rows(); }

  // The sum of min_j c(x, y_j) - phi_j over rows of that total weight, from the sums of their smallest scores and of
  // |x - centre|^2.
  double sum_of_costs(double score, double size, double weight) const noexcept;
  // The steepness of the scores that stands for exp(-cost / reg).
  T steepness(double reg) const noexcept;
  // |x'|^2
  double size_of(std::span<const T> row) const noexcept;
  // What differences of x' and y' are multiplied by for those of x and y.
  double unit() const noexcept { return 1 / static_cast<double>(scale_); }
  double scaled_site(std::size_t j, std::size_t k) const noexcept {
    return static_cast<double>(sites_(j, k) * scale_ - scaled_centre_[k]);
  }

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
