#include "steppe/models/metric/metric_factors.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "steppe/core/blas.hpp"
#include "steppe/models/metric/polling.hpp"

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
ArrayMap dense_metric(AlignedVector<double>& m, std::size_t d, MatrixView<const double> prior, Team& team,
                      Pacer* pacer) {
  const auto definite = std::make_shared<bool>();
  call_lapack(m, pacer, [definite, d](AlignedVector<double>& a) { *definite = cholesky({a.data(), d, d}); });
  require(*definite, "the metric is singular to working precision; use a smaller gamma, or scale the features");
  // M = K K', so A = (K^-1 L')' (K^-1 L').
  AlignedVector<double> components(d * d, 0);
  for (std::size_t i = 0; i < d; ++i) {
    if (prior.rows() == 0) components[i * d + i] = 1;
    for (std::size_t j = i; prior.rows() > 0 && j < d; ++j) components[i * d + j] = prior(j, i);
  }
  constexpr std::size_t kColumns = 64;
  for_each_piece(team, (d + kColumns - 1) / kColumns, pacer, [&](std::size_t piece) {
    const std::size_t first = piece * kColumns;
    solve_lower<double>(Side::left, Op::none, {m.data(), d, d},
                        {components.data() + first, d, std::min(kColumns, d - first), d});
  });
  return dense_metric<T>({components.data(), d, d});
}

template <class T>
ArrayMap factored_metric(const DifferenceSpan<T>& span, AlignedVector<double>& matrix, bool inverse, double scale,
                         Pacer* pacer) {
  const std::size_t r = span.rank();
  const auto values = std::make_shared<std::vector<double>>(r);
  call_lapack(matrix, pacer, [values, r](AlignedVector<double>& a) { symmetric_eigen({a.data(), r, r}, *values); });
  constexpr double kSame = 1e-12;
  std::vector<double> kept;
  for (std::size_t i = 0; i < r; ++i) {
    const double value = inverse ? 1 / (*values)[i] : (*values)[i];
    require(value > 0 && std::isfinite(value),
            "the metric is singular to working precision; use a smaller gamma, or scale the features");
    if (std::abs(value - scale) <= kSame * scale) continue;
    std::copy_n(matrix.data() + i * r, r, matrix.data() + kept.size() * r);
    kept.push_back(value);
  }
  ArrayMap result;
  Array basis = Array::zeros<T>({kept.size(), span.n_features()});
  span.to_features({matrix.data(), kept.size(), r}, {basis.as<T>().data(), kept.size(), span.n_features()}, pacer);
  result["basis"] = std::move(basis);
  result["eigenvalues"] = converted<T>(kept, {kept.size()});
  return result;
}

template ArrayMap dense_metric<float>(AlignedVector<double>&, std::size_t, MatrixView<const double>, Team&, Pacer*);
template ArrayMap dense_metric<float>(MatrixView<const double>);
template ArrayMap factored_metric(const DifferenceSpan<float>&, AlignedVector<double>&, bool, double, Pacer*);
template ArrayMap dense_metric<double>(AlignedVector<double>&, std::size_t, MatrixView<const double>, Team&, Pacer*);
template ArrayMap dense_metric<double>(MatrixView<const double>);
template ArrayMap factored_metric(const DifferenceSpan<double>&, AlignedVector<double>&, bool, double, Pacer*);

}  // namespace steppe
