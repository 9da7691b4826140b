#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace steppe {

// What is assumed about each component before the data, all about the data's centre: weights Dirichlet(alpha); a
// precision that is Wishart(dof, V^-1), of all features together (full) or of each by itself (the one-dimensional
// Wishart, a Gamma density); a mean about `mean` of mean_precision times that precision. Each row stands for a Gaussian
// of variance `blur` in every direction, which keeps components from shrinking to points.
struct MixturePrior {
  MixturePrior(std::size_t n_features, bool full, double concentration, double mean_precision, double dof, double blur,
               std::vector<double> mean, std::vector<double> scale);

  std::size_t n_features;
  bool full;
  double concentration, mean_precision, dof, blur;
  std::vector<double> mean;
  std::vector<double> scale;   // V: diagonal, or whole and symmetric
  std::vector<double> pivots;  // of the Cholesky factor of V, squared: those of any posterior are no smaller
  double log_det = 0;          // of V
};

// The posterior of one component, from its sufficient statistics (kernels/mixture_moments.hpp) about the centre. Made
// to be used again: set() allocates once.
class ComponentPosterior {
 public:
  explicit ComponentPosterior(const MixturePrior& prior);

  void set(std::span<const double> statistics);

  double weight() const { return n_; }
  double concentration() const { return prior_.concentration + n_; }
  double mean_precision() const { return prior_.mean_precision + n_; }
  double dof() const { return prior_.dof + n_; }
  std::span<const double> mean() const { return mean_; }
  // The covariance that corresponds to the expected precision: V / dof; diagonal, or whole.
  void covariance(std::span<double> out) const;
  // The factor of half the expected precision: F'F = dof / 2 V^-1; diagonal, or a lower triangle, row-major with zeros.
  std::span<const double> factor() const { return factor_; }
  // E log p(x | component) less the square |F (x - mean)|^2.
  double log_constant() const;

  // Log of the ratio of normalisers of this density and the prior, and of log Gamma functions of their concentrations.
  double log_ratio() const;
  // Kullback-Leibler divergence from the prior, the concentration's part up to what is the same for all components;
  // `total` is the sum of all concentrations.
  double divergence(double total) const;

 private:
  void set_diagonal(std::span<const double> second);
  void set_full(std::span<const double> second);
  double log_normaliser(double mean_precision, double dof, double log_det) const;
  double expected_log_precision() const;
  double expected_square_sum() const;

  const MixturePrior& prior_;
  double n_ = 0, log_det_ = 0;
  std::vector<double> mean_;
  std::vector<double> scale_;  // V
  std::vector<double> root_;   // its Cholesky factor, or square roots
  std::vector<double> factor_;
  std::vector<double> statistics_;
};

}  // namespace steppe
