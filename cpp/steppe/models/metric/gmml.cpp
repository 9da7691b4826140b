#include "steppe/models/metric/gmml.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "steppe/core/blas.hpp"
#include "steppe/models/metric/metric_factors.hpp"
#include "steppe/models/metric/polling.hpp"

namespace steppe {
namespace {

// C = op(A) B, square, in pieces that depend on the size alone.
void multiply(Op op, MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c, Team& team,
              Pacer* pacer) {
  constexpr std::size_t kHeight = 128, kWidth = 512;
  const std::size_t n = c.rows(), across = (n + kWidth - 1) / kWidth;
  for_each_piece(team, (n + kHeight - 1) / kHeight * across, pacer, [&](std::size_t piece) {
    const std::size_t i = piece / across * kHeight, j = piece % across * kWidth;
    const std::size_t height = std::min(kHeight, n - i), width = std::min(kWidth, n - j);
    const MatrixView<const double> left =
        op == Op::none ? MatrixView<const double>(a.data() + i * a.stride(), height, n, a.stride())
                       : MatrixView<const double>(a.data() + i, n, height, a.stride());
    gemm<double>(op, Op::none, 1, left, {b.data() + j, n, width, b.stride()}, 0,
                 {c.data() + i * c.stride() + j, height, width, c.stride()});
  });
}

template <class T>
class GmmlSession final : public FitSession {
 public:
  GmmlSession(const GmmlParams& params, const GmmlData<T>& data, Link& link)
      : params_(params), data_(data), link_(link), team_(params.n_threads) {}

  Progress advance(std::uint32_t, Control& control) override {
    Pacer pacer(control);
    const bool whole = ends_everywhere(link_, [&] { fit(&pacer); });
    done_ = whole;
    if (!whole) result_.clear();
    return {whole ? data_.sign.size() : 0, objective_, !whole};
  }

  double objective(Control&) override { return objective_; }
  std::uint32_t rounds_done() const override { return done_ ? 1 : 0; }

  // A fit of one round has nothing to keep but that it is done, and its objective; the result is made anew.
  ArrayMap state() const override {
    return {{"done", Array::scalar(static_cast<std::uint8_t>(done_))}, {"objective", Array::scalar(objective_)}};
  }
  void restore(const ArrayMap& state) override {
    done_ = scalar_at<std::uint8_t>(state, "done") != 0;
    objective_ = scalar_at<double>(state, "objective");
  }

  bool prepare_result(Control& control) override {
    Pacer pacer(control);
    return !done_ || ends_everywhere(link_, [&] { fit(&pacer); });
  }
  ArrayMap result() override {
    if (done_) fit(nullptr);
    return result_;
  }

 private:
  void fit(Pacer* pacer) {
    if (!result_.empty()) return;
    const std::size_t n_features = data_.points.n_features();
    if (n_features <= kDenseFeatures) {
      mean(difference_rows(data_.points, team_), n_features, pacer);
      result_ = dense_metric<T>({first_.data(), n_features, n_features});
    } else {
      DifferenceSpan<T> span(data_.points, link_, team_, pacer);
      span.factorise(pacer);
      const std::size_t r = span.rank();
      mean(stored_rows(span.coordinates(), r), r, pacer);
      multiply(Op::transpose, {first_.data(), r, r}, {first_.data(), r, r}, {second_.data(), r, r}, team_, pacer);
      // Outside the span S and D are reg I.
      const double scale = std::pow(params_.reg, 2 * params_.t - 1), log_stretch = 2 * std::log(params_.reg);
      objective_ += params_.t * (1 - params_.t) * static_cast<double>(n_features - r) * log_stretch * log_stretch;
      ArrayMap factors = factored_metric(span, second_, false, scale, pacer);
      factors["scale"] = Array::scalar(static_cast<T>(scale));
      result_ = std::move(factors);
    }
    first_ = second_ = {};
  }

  // Leaves the components of the metric of these rows (C x m) in first_.
  void mean(const VectorRows& rows, std::size_t m, Pacer* pacer) {
    second_ = scatter(rows, m, -1, data_.prior, pacer);
    first_ = scatter(rows, m, 1, data_.prior_inverse, pacer);
    std::vector<double> values(m);
    geometric_mean(first_, second_, params_.t, values, team_, pacer);
    double distance = 0;
    for (const double value : values) distance += std::log(value) * std::log(value);
    objective_ = params_.t * (1 - params_.t) * distance;
  }

  AlignedVector<double> scatter(const VectorRows& rows, std::size_t d, double sign,
                                MatrixView<const double> regulariser, Pacer* pacer) {
    AlignedVector<double> sum(d * d, 0);
    for (std::size_t i = 0; i < d; ++i) {
      if (regulariser.rows() == 0) sum[i * d + i] = params_.reg;
      for (std::size_t j = 0; regulariser.rows() > 0 && j < d; ++j) sum[i * d + j] = params_.reg * regulariser(i, j);
    }
    const auto n = static_cast<double>(std::count(data_.sign.begin(), data_.sign.end(), sign));
    std::vector<double> weights(data_.sign.size());
    std::transform(data_.sign.begin(), data_.sign.end(), weights.begin(),
                   [&](double value) { return value == sign ? 1 / n : 0; });
    add_scatter({sum.data(), d, d}, rows, weights, team_, pacer);
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

void geometric_mean(AlignedVector<double>& s, AlignedVector<double>& d, double t, std::span<double> values) {
  Team alone(1);
  geometric_mean(s, d, t, values, alone, nullptr);
}

void geometric_mean(AlignedVector<double>& s, AlignedVector<double>& d, double t, std::span<double> values, Team& team,
                    Pacer* pacer) {
  const std::size_t n = values.size();
  const auto regular = std::make_shared<bool>();
  call_lapack(s, pacer, [regular, n](AlignedVector<double>& a) { *regular = regular_cholesky({a.data(), n, n}); });
  require(*regular,
          "reg: the similar pairs leave some direction without any spread and reg is too small to mend it; "
          "increase reg, or drop constant and linearly dependent features");
  AlignedVector<double> lower(n * n, 0);
  for (std::size_t i = 0; i < n; ++i) {
    std::copy_n(s.data() + i * n, i + 1, lower.data() + i * n);
    for (std::size_t j = 0; j < i; ++j) d[j * n + i] = d[i * n + j];
  }
  const MatrixView<double> l(lower.data(), n, n), product(s.data(), n, n), stretches(d.data(), n, n);
  multiply(Op::none, stretches, l, product, team, pacer);
  multiply(Op::transpose, l, product, stretches, team, pacer);
  const auto found = std::make_shared<std::vector<double>>(n);
  call_lapack(d, pacer, [found, n](AlignedVector<double>& a) { symmetric_eigen({a.data(), n, n}, *found); });
  require(n == 0 || found->front() > 0,
          "reg: the dissimilar pairs leave some direction without any spread and reg is too small to mend it; "
          "increase reg, or drop constant and linearly dependent features");
  std::copy(found->begin(), found->end(), values.begin());
  constexpr std::size_t kRows = 32;  // of V', and of W in its place
  for_each_piece(team, (n + kRows - 1) / kRows, pacer, [&](std::size_t piece) {
    const std::size_t first = piece * kRows, last = std::min(first + kRows, n);
    for (std::size_t i = first; i < last; ++i) {
      const double stretch = std::pow(values[i], t / 2);
      std::transform(d.data() + i * n, d.data() + (i + 1) * n, s.data() + i * n,
                     [&](double value) { return stretch * value; });
    }
    solve_lower<double>(Side::right, Op::none, l, {s.data() + first * n, last - first, n});
  });
}

template <class T>
std::unique_ptr<FitSession> make_gmml_session(const GmmlParams& params, const GmmlData<T>& data, Link& link) {
  return std::make_unique<GmmlSession<T>>(params, data, link);
}

template std::unique_ptr<FitSession> make_gmml_session(const GmmlParams&, const GmmlData<float>&, Link&);
template std::unique_ptr<FitSession> make_gmml_session(const GmmlParams&, const GmmlData<double>&, Link&);

}  // namespace steppe
