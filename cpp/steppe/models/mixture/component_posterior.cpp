#include "steppe/models/mixture/component_posterior.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "steppe/core/errors.hpp"
#include "steppe/core/special_functions.hpp"
#include "steppe/kernels/mixture_moments.hpp"

namespace steppe {
namespace {

constexpr double kLog2 = 0.69314718055994530942, kLog2Pi = 1.8378770664093454836;

// A = L L', L below and on the diagonal. Pivots that rounding has spoilt are raised to `least`.
void cholesky_above(std::span<double> a, std::size_t d, const double* least) {
  for (std::size_t i = 0; i < d; ++i) {
    double* row = a.data() + i * d;
    for (std::size_t j = 0; j <= i; ++j) {
      const double* other = a.data() + j * d;
      double sum = row[j];
      for (std::size_t k = 0; k < j; ++k) sum -= row[k] * other[k];
      row[j] = i > j ? sum / other[j] : std::sqrt(least ? std::max(sum, least[i]) : sum);
    }
  }
}

// L^-1 times `scale` into the lower triangle of `inverse`.
void invert_lower(std::span<const double> l, std::size_t d, double scale, std::span<double> inverse) {
  std::fill(inverse.begin(), inverse.end(), 0.0);
  for (std::size_t i = 0; i < d; ++i) {
    double* row = inverse.data() + i * d;
    for (std::size_t k = 0; k < i; ++k) {
      const double factor = l[i * d + k];
      const double* solved = inverse.data() + k * d;
      for (std::size_t j = 0; j <= k; ++j) row[j] -= factor * solved[j];
    }
    row[i] = scale;
    for (std::size_t j = 0; j <= i; ++j) row[j] /= l[i * d + i];
  }
}

}  // namespace

MixturePrior::MixturePrior(std::size_t features, bool is_full, double weight_concentration, double beta, double nu,
                           double variance, std::vector<double> centre, std::vector<double> v)
    : n_features(features), full(is_full), concentration(weight_concentration), mean_precision(beta), dof(nu),
      blur(variance), mean(std::move(centre)), scale(std::move(v)) {
  require(concentration > 0, "weight_concentration_prior: must be positive");
  require(mean_precision > 0, "mean_precision_prior: must be positive");
  require(dof > (full ? double(n_features) - 1 : 0.0),
          "degrees_of_freedom_prior: must exceed the number of features less 1 (full), or 0 (diag)");
  invariant(mean.size() == n_features && scale.size() == (full ? n_features * n_features : n_features),
            "a prior's parts differ in size");
  std::vector<double> root = scale;
  if (full) cholesky_above(root, n_features, nullptr);
  for (std::size_t i = 0; i < n_features; ++i) {
    pivots.push_back(full ? root[i * n_features + i] * root[i * n_features + i] : scale[i]);
    if (!(pivots.back() > 0)) {
      throw InvalidArgument("covariance_prior: is not positive definite at feature " + std::to_string(i) +
                            "; is the feature constant, or a combination of others? Give a reg_covar above 0, or a "
                            "covariance_prior");
    }
    log_det += std::log(pivots.back());
  }
}

ComponentPosterior::ComponentPosterior(const MixturePrior& prior)
    : prior_(prior), mean_(prior.n_features), scale_(prior.scale), root_(prior.scale.size()),
      factor_(prior.scale.size()) {}

void ComponentPosterior::set(std::span<const double> statistics) {
  const std::size_t d = prior_.n_features;
  statistics_.assign(statistics.begin(), statistics.end());
  n_ = std::max(statistics[0], 0.0);
  const double beta = mean_precision();
  for (std::size_t i = 0; i < d; ++i) {
    mean_[i] = (prior_.mean_precision * prior_.mean[i] + statistics[kernels::kFirstMoments + i]) / beta;
  }
  const auto second = std::span<const double>(statistics_).subspan(kernels::second_moments(d));
  if (prior_.full) {
    set_full(second);
  } else {
    set_diagonal(second);
  }
}

void ComponentPosterior::set_diagonal(std::span<const double> second) {
  const double b0 = prior_.mean_precision, beta = mean_precision();
  log_det_ = 0;
  for (std::size_t i = 0; i < prior_.n_features; ++i) {
    const double scatter =
        second[i] + n_ * prior_.blur + b0 * prior_.mean[i] * prior_.mean[i] - beta * mean_[i] * mean_[i];
    scale_[i] = prior_.scale[i] + std::max(scatter, 0.0);
    log_det_ += std::log(scale_[i]);
    factor_[i] = std::sqrt(dof() / (2 * scale_[i]));
  }
}

void ComponentPosterior::set_full(std::span<const double> second) {
  const std::size_t d = prior_.n_features;
  const double b0 = prior_.mean_precision, beta = mean_precision();
  std::size_t at = 0;
  for (std::size_t i = 0; i < d; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      const double blur = i == j ? n_ * prior_.blur : 0.0;
      scale_[i * d + j] = scale_[j * d + i] = prior_.scale[i * d + j] + second[at++] + blur +
                                              b0 * prior_.mean[i] * prior_.mean[j] - beta * mean_[i] * mean_[j];
    }
  }
  root_ = scale_;
  cholesky_above(root_, d, prior_.pivots.data());
  log_det_ = 0;
  for (std::size_t i = 0; i < d; ++i) log_det_ += 2 * std::log(root_[i * d + i]);
  invert_lower(root_, d, std::sqrt(dof() / 2), factor_);
}

void ComponentPosterior::covariance(std::span<double> out) const {
  std::transform(scale_.begin(), scale_.end(), out.begin(), [&](double value) { return value / dof(); });
}

double ComponentPosterior::expected_log_precision() const {
  const std::size_t d = prior_.n_features;
  double sum = double(d) * kLog2 - log_det_;
  for (std::size_t i = 0; i < d; ++i) sum += prior_.full || i == 0 ? digamma((dof() - double(i)) / 2) : 0.0;
  if (!prior_.full) sum += double(d - 1) * digamma(dof() / 2);
  return sum;
}

double ComponentPosterior::log_constant() const {
  const double d = double(prior_.n_features);
  double square = 0;
  for (const double f : factor_) square += f * f;
  return 0.5 * (expected_log_precision() - d * kLog2Pi - d / mean_precision()) - prior_.blur * square;
}

double ComponentPosterior::log_normaliser(double mean_precision, double dof, double log_det) const {
  const std::size_t d = prior_.n_features;
  double value = 0.5 * double(d) * (kLog2Pi - std::log(mean_precision)) + 0.5 * dof * (double(d) * kLog2 - log_det);
  if (!prior_.full) return value + double(d) * log_gamma(dof / 2);
  for (std::size_t i = 0; i < d; ++i) value += log_gamma((dof - double(i)) / 2);
  return value;  // but for a power of pi, which is the same for prior and posterior
}

double ComponentPosterior::log_ratio() const {
  return log_normaliser(mean_precision(), dof(), log_det_) -
         log_normaliser(prior_.mean_precision, prior_.dof, prior_.log_det) + log_gamma(concentration()) -
         log_gamma(prior_.concentration) - 0.5 * n_ * double(prior_.n_features) * kLog2Pi;
}

// sum_i z_i E (x_i - mean)' Lambda (x_i - mean) / 2, with blur, over the rows that made the statistics.
double ComponentPosterior::expected_square_sum() const {
  const std::size_t d = prior_.n_features;
  const auto first = std::span<const double>(statistics_).subspan(kernels::kFirstMoments, d);
  const auto second = std::span<const double>(statistics_).subspan(kernels::second_moments(d));
  double sum = 0.5 * n_ * double(d) / mean_precision();
  std::size_t at = 0;
  for (std::size_t i = 0; i < d; ++i) {
    for (std::size_t j = prior_.full ? 0 : i; j <= i; ++j) {
      double scatter = second[at++] - mean_[i] * first[j] - first[i] * mean_[j] + n_ * mean_[i] * mean_[j];
      if (i == j) scatter += n_ * prior_.blur;
      double precision = 0;  // half of it
      if (prior_.full) {
        for (std::size_t k = i; k < d; ++k) precision += factor_[k * d + i] * factor_[k * d + j];
      } else {
        precision = factor_[i] * factor_[i];
      }
      sum += (i == j ? 1 : 2) * precision * scatter;
    }
  }
  return sum;
}

double ComponentPosterior::divergence(double total) const {
  const double likelihood = 0.5 * n_ * expected_log_precision() - expected_square_sum();
  const double densities = log_ratio() + 0.5 * n_ * double(prior_.n_features) * kLog2Pi;
  return likelihood - densities + n_ * (digamma(concentration()) - digamma(total));
}

}  // namespace steppe
