#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "steppe/kernels/row_solver.hpp"

namespace steppe {

// Conjugate gradients on many systems (A_i + reg_i) x_i = b_i of one order at once, where nobody holds a whole A_i:
// `products` adds up A_i p_i over the ranks for all i in one message. Every rank runs the same steps on the same
// numbers, in double, and ends with the same bits. kernels/row_solver.hpp has the method for one system.
class JointSolver {
 public:
  using Products = std::function<std::vector<double>(const std::vector<double>&)>;

  // `right` and `diagonal` hold b_i and the diagonal of A_i, one system after the other.
  JointSolver(std::vector<double> reg, std::vector<double> right, std::vector<double> diagonal, Products products);

  // From the x it is given. Collective.
  void solve(std::vector<double>& x, const kernels::SolverLimits& limits);

 private:
  void start(const std::vector<double>& x, const kernels::SolverLimits& limits);
  bool converged() const;
  void step(std::vector<double>& x);
  void step_one(std::size_t i, std::span<double> x, std::span<double> image);

  std::span<double> part(std::vector<double>& all, std::size_t i) const {
    return std::span(all).subspan(i * order_, order_);
  }

  std::vector<double> reg_, right_, inverse_;  // inverse: of the diagonals of A_i + reg_i
  Products products_;
  std::size_t order_;
  std::vector<double> residual_, direction_;
  std::vector<double> rest_, enough_;  // by system: r' D r, and where it may stop
};

}  // namespace steppe
