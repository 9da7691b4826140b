#include "steppe/models/recommend/joint_solver.hpp"

#include <utility>

namespace steppe {

JointSolver::JointSolver(std::vector<double> reg, std::vector<double> right, std::vector<double> diagonal,
                         Products products)
    : reg_(std::move(reg)), right_(std::move(right)), inverse_(std::move(diagonal)), products_(std::move(products)),
      order_(right_.size() / reg_.size()) {
  for (std::size_t i = 0; i < reg_.size(); ++i) {
    for (double& value : part(inverse_, i)) value = value + reg_[i] > 0 ? 1 / (value + reg_[i]) : 0;
  }
}

void JointSolver::solve(std::vector<double>& x, const kernels::SolverLimits& limits) {
  start(x, limits);
  for (int n = 0; n < limits.steps && !converged(); ++n) step(x);
}

void JointSolver::start(const std::vector<double>& x, const kernels::SolverLimits& limits) {
  residual_ = products_(x);
  direction_.resize(x.size());
  rest_.assign(reg_.size(), 0);
  enough_.assign(reg_.size(), 0);
  for (std::size_t i = 0; i < reg_.size(); ++i) {
    double right = 0;
    for (std::size_t f = i * order_; f < (i + 1) * order_; ++f) {
      residual_[f] = right_[f] - residual_[f] - reg_[i] * x[f];
      direction_[f] = inverse_[f] * residual_[f];
      rest_[i] += residual_[f] * direction_[f];
      right += right_[f] * inverse_[f] * right_[f];
    }
    enough_[i] = limits.bound(right, rest_[i]);
  }
}

bool JointSolver::converged() const {
  for (std::size_t i = 0; i < rest_.size(); ++i) {
    if (rest_[i] > enough_[i]) return false;
  }
  return true;
}

void JointSolver::step(std::vector<double>& x) {
  std::vector<double> images = products_(direction_);
  for (std::size_t i = 0; i < reg_.size(); ++i) {
    if (rest_[i] > enough_[i]) step_one(i, part(x, i), part(images, i));
  }
}

void JointSolver::step_one(std::size_t i, std::span<double> x, std::span<double> image) {
  const auto direction = part(direction_, i), residual = part(residual_, i), inverse = part(inverse_, i);
  double curvature = 0, left = 0;
  for (std::size_t f = 0; f < order_; ++f) {
    image[f] += reg_[i] * direction[f];
    curvature += direction[f] * image[f];
  }
  if (!(curvature > 0)) {
    rest_[i] = 0;
    return;
  }
  const double length = rest_[i] / curvature;
  for (std::size_t f = 0; f < order_; ++f) {
    x[f] += length * direction[f];
    residual[f] -= length * image[f];
    left += residual[f] * inverse[f] * residual[f];
  }
  const double turn = left / rest_[i];
  for (std::size_t f = 0; f < order_; ++f) direction[f] = inverse[f] * residual[f] + turn * direction[f];
  rest_[i] = left;
}

}  // namespace steppe
