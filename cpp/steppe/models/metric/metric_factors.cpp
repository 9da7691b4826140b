#include "steppe/models/metric/metric_factors.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "steppe/core/blas.hpp"

namespace steppe {
namespace {

template <class T>
Array converted(std::span<const double> values, std::vector<std::size_t> shape) {
  Array array = Array::zeros<T>(std::move(shape));
  std::transform(values.begin(), values.end(), array.as<T>().begin(),
                 [](double value) { return static_cast<T>(value); });
  return array;
}

}  // namespace

template <class T>
ArrayMap dense_metric(MatrixView<const double> components) {
  const std::size_t size = components.rows() * components.cols();
  return {{"components", converted<T>({components.data(), size}, {components.rows(), components.cols()})}};
}

template <class T>
ArrayMap dense_metric(MatrixView<double> m, MatrixView<const double> prior) {
  const std::size_t d = m.rows();
  require(cholesky(m),
          "the metric is singular to working precision; use float64, a smaller gamma, or scale the features");
  // M = K K', so A = (K^-1 L')' (K^-1 L').
  AlignedVector<double> components(d * d, 0);
  for (std::size_t i = 0; i < d; ++i) {
    if (prior.rows() == 0) components[i * d + i] = 1;
    for (std::size_t j = i; prior.rows() > 0 && j < d; ++j) components[i * d + j] = prior(j, i);
  }
  solve_lower<double>(Side::left, Op::none, m, {components.data(), d, d});
  return dense_metric<T>({components.data(), d, d});
}

template <class T>
ArrayMap factored_metric(const DifferenceSpan<T>& span, MatrixView<double> matrix, bool inverse, double scale) {
  const std::size_t r = span.rank();
  std::vector<double> values(r);
  symmetric_eigen(matrix, values);
  constexpr double kSame = 1e-12;
  std::vector<double> kept;
  for (std::size_t i = 0; i < r; ++i) {
    const double value = inverse ? 1 / values[i] : values[i];
    require(value > 0, "the metric is singular to working precision; use float64 or scale the features");
    if (std::abs(value - scale) <= kSame * scale) continue;
    std::copy_n(matrix.row(i).data(), r, matrix.row(kept.size()).data());
    kept.push_back(value);
  }
  ArrayMap result;
  Array basis = Array::zeros<T>({kept.size(), span.n_features()});
  span.to_features({matrix.data(), kept.size(), r, matrix.stride()},
                   {basis.as<T>().data(), kept.size(), span.n_features()});
  result["basis"] = std::move(basis);
  result["eigenvalues"] = converted<T>(kept, {kept.size()});
  return result;
}

template ArrayMap dense_metric<float>(MatrixView<double>, MatrixView<const double>);
template ArrayMap dense_metric<float>(MatrixView<const double>);
template ArrayMap factored_metric(const DifferenceSpan<float>&, MatrixView<double>, bool, double);
template ArrayMap dense_metric<double>(MatrixView<double>, MatrixView<const double>);
template ArrayMap dense_metric<double>(MatrixView<const double>);
template ArrayMap factored_metric(const DifferenceSpan<double>&, MatrixView<double>, bool, double);

}  // namespace steppe
