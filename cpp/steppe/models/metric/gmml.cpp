#include "steppe/models/metric/gmml.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "steppe/core/blas.hpp"
#include "steppe/models/metric/metric_factors.hpp"

namespace steppe {
namespace {

template <class T>
class GmmlSession final : public FitSession {
 public:
  GmmlSession(const GmmlParams& params, const GmmlData<T>& data, Link& link)
      : params_(params), data_(data), link_(link), team_(params.n_threads) {}

  Progress advance(std::uint32_t, Control&) override {
    if (!done_) fit();
    done_ = true;
    return {data_.sign.size(), objective_, false};
  }

  double objective(Control&) override { return objective_; }
  std::uint32_t rounds_done() const override { return done_ ? 1 : 0; }

  // A fit of one round has nothing to keep but that it is done; the result is made anew.
  ArrayMap state() const override { return {{"done", Array::scalar(static_cast<std::uint8_t>(done_))}}; }
  void restore(const ArrayMap& state) override {
    if (scalar_at<std::uint8_t>(state, "done") != 0) fit();
    done_ = true;
  }

  ArrayMap result() override {
    if (!done_) fit();
    done_ = true;
    return result_;
  }

 private:
  void fit() {
    if (data_.points.n_features() <= kDenseFeatures) {
      const AlignedVector<T> z = difference_rows(data_.points, team_);
      const std::size_t d = data_.points.n_features();
      result_ = dense_metric<T>(mean<T>({z.data(), data_.sign.size(), d}));
      return;
    }
    DifferenceSpan<T> span(data_.points, link_, team_);
    span.factorise();
    const AlignedVector<double> z = span.coordinates();
    const std::size_t r = span.rank();
    const MatrixView<const double> w = mean<double>({z.data(), data_.sign.size(), r});
    AlignedVector<double> metric(r * r);
    gemm<double>(Op::transpose, Op::none, 1, w, w, 0, {metric.data(), r, r});
    const double scale = std::pow(params_.reg, 2 * params_.t - 1);
    result_ = factored_metric(span, {metric.data(), r, r}, false, scale);
    result_["scale"] = Array::scalar(static_cast<T>(scale));
  }

  // The components of the metric of these rows.
  template <class U>
  MatrixView<const double> mean(MatrixView<const U> rows) {
    const std::size_t d = rows.cols();
    second_ = scatter(rows, -1, data_.prior);
    first_ = scatter(rows, 1, data_.prior_inverse);
    std::vector<double> values(d);
    geometric_mean({first_.data(), d, d}, {second_.data(), d, d}, params_.t, values);
    double distance = 0;
    for (const double value : values) distance += std::log(value) * std::log(value);
    objective_ = params_.t * (1 - params_.t) * distance;
    return {first_.data(), d, d};
  }

  template <class U>
  AlignedVector<double> scatter(MatrixView<const U> rows, double sign, MatrixView<const double> regulariser) {
    const std::size_t d = rows.cols();
    AlignedVector<double> sum(d * d, 0);
    for (std::size_t i = 0; i < d; ++i) {
      if (regulariser.rows() == 0) sum[i * d + i] = params_.reg;
      for (std::size_t j = 0; regulariser.rows() > 0 && j < d; ++j) sum[i * d + j] = params_.reg * regulariser(i, j);
    }
    const auto n = static_cast<double>(std::count(data_.sign.begin(), data_.sign.end(), sign));
    std::vector<double> weights(data_.sign.size());
    std::transform(data_.sign.begin(), data_.sign.end(), weights.begin(),
                   [&](double value) { return value == sign ? 1 / n : 0; });
    add_scatter<U>({sum.data(), d, d}, rows, weights, team_);
    return sum;
  }

  GmmlParams params_;
  GmmlData<T> data_;
  Link& link_;
  Team team_;
  AlignedVector<double> first_, second_;
  double objective_ = 0;
  bool done_ = false;
  ArrayMap result_;
};

// S = L L' with L in the lower triangle; false if some row is, to rounding, a combination of those before it.
bool regular_cholesky(MatrixView<double> s) {
  const std::size_t n = s.rows();
  std::vector<double> diagonal(n);
  for (std::size_t i = 0; i < n; ++i) diagonal[i] = s(i, i);
  if (!cholesky(s)) return false;
  const double rounding = static_cast<double>(n) * std::numeric_limits<double>::epsilon();
  for (std::size_t i = 0; i < n; ++i) {
    if (!(s(i, i) * s(i, i) > rounding * diagonal[i])) return false;
  }
  return true;
}

}  // namespace

void geometric_mean(MatrixView<double> s, MatrixView<double> d, double t, std::span<double> values) {
  const std::size_t n = s.rows();
  require(regular_cholesky(s),
          "reg: the similar pairs leave some direction without any spread and reg is too small to mend it; "
          "increase reg, or drop constant and linearly dependent features");
  AlignedVector<double> lower(n * n, 0), product(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    std::copy_n(s.row(i).data(), i + 1, lower.data() + i * n);
    for (std::size_t j = 0; j < i; ++j) d(j, i) = d(i, j);
  }
  const MatrixView<double> l(lower.data(), n, n), dl(product.data(), n, n);
  gemm<double>(Op::none, Op::none, 1, d, l, 0, dl);
  gemm<double>(Op::transpose, Op::none, 1, l, dl, 0, d);
  symmetric_eigen(d, values);  // its rows are now V'
  require(n == 0 || values[0] > 0,
          "reg: the dissimilar pairs leave some direction without any spread and reg is too small to mend it; "
          "increase reg, or drop constant and linearly dependent features");
  for (std::size_t i = 0; i < n; ++i) {
    const double stretch = std::pow(values[i], t / 2);
    std::transform(d.row(i).begin(), d.row(i).end(), s.row(i).begin(), [&](double value) { return stretch * value; });
  }
  solve_lower<double>(Side::right, Op::none, l, s);
}

template <class T>
std::unique_ptr<FitSession> make_gmml_session(const GmmlParams& params, const GmmlData<T>& data, Link& link) {
  return std::make_unique<GmmlSession<T>>(params, data, link);
}

template std::unique_ptr<FitSession> make_gmml_session(const GmmlParams&, const GmmlData<float>&, Link&);
template std::unique_ptr<FitSession> make_gmml_session(const GmmlParams&, const GmmlData<double>&, Link&);

}  // namespace steppe
