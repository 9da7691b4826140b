#include "steppe/models/ranking/local_metric.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "steppe/comm/local_link.hpp"
#include "steppe/core/blas.hpp"
#include "steppe/core/rng.hpp"
#include "steppe/kernels/ranking_loss.hpp"
#include "steppe/models/metric/differences.hpp"
#include "steppe/models/metric/gmml.hpp"
#include "steppe/models/metric/metric_factors.hpp"
#include "steppe/models/ranking/ranked_queries.hpp"

namespace steppe {
namespace {

constexpr std::size_t kCandidates = 32;  // for the place of the anchor

// The components W of S^-1 #_t D, both regularised; returns the regulariser.
double mean_metric(Scatters& scatters, const LocalMetricParams& params, std::size_t r) {
  double trace = 0;
  for (std::size_t i = 0; i < r; ++i) trace += scatters.similar[i * r + i] + scatters.dissimilar[i * r + i];
  const double reg = params.reg * (trace > 0 ? trace / (2 * static_cast<double>(r)) : 1);
  for (std::size_t i = 0; i < r; ++i) {
    scatters.similar[i * r + i] += reg;
    scatters.dissimilar[i * r + i] += reg;
  }
  std::vector<double> values(r);
  geometric_mean(scatters.similar, scatters.dissimilar, params.t, values);
  return reg;
}

template <class T>
void learn_dense(const QueryBlock<T>& block, const LocalMetricParams& params, LocalMetric<T>& metric) {
  const std::size_t d = block.n_features, n = block.n_learn_rows();
  AlignedVector<double> differences(n * d);
  for (std::size_t q = 0; q < block.n_learn; ++q) {
    const auto first = block.rows().row(block.begin[q]);
    for (std::size_t i = block.begin[q]; i < block.begin[q + 1]; ++i) {
      std::transform(block.rows().row(i).begin(), block.rows().row(i).end(), first.begin(), differences.data() + i * d,
                     [](T a, T b) { return static_cast<double>(a) - static_cast<double>(b); });
    }
  }
  Scatters scatters = query_scatters<T>(block, {differences.data(), n, d});
  mean_metric(scatters, params, d);
  metric.components.assign(scatters.similar.begin(), scatters.similar.end());
}

// The symmetric root of scale I + basis' diag(stretch) basis; `values` are the eigenvalues along the basis.
template <class T>
void write_root(std::span<const T> values, std::size_t d, LocalMetric<T>& metric) {
  const std::size_t k = values.size();
  const T outside = std::sqrt(metric.scale);
  AlignedVector<T> stretched(metric.basis);
  for (std::size_t i = 0; i < k; ++i) {
    const T factor = std::sqrt(values[i]) - outside;
    std::for_each_n(stretched.data() + i * d, d, [factor](T& value) { value *= factor; });
  }
  metric.components.assign(d * d, T{0});
  for (std::size_t j = 0; j < d; ++j) metric.components[j * d + j] = outside;
  gemm<T>(Op::transpose, Op::none, 1, {metric.basis.data(), k, d}, {stretched.data(), k, d}, 1,
          {metric.components.data(), d, d});
}

// In the span of the differences; outside both matrices are `reg`, and the metric is reg^(2t - 1).
template <class T>
void learn_in_span(const QueryBlock<T>& block, const LocalMetricParams& params, LocalMetric<T>& metric) {
  const std::size_t n = block.n_learn_rows();
  std::vector<std::int64_t> pairs;
  for (std::size_t q = 0; q < block.n_learn; ++q) {
    for (std::size_t i = block.begin[q]; i < block.begin[q + 1]; ++i) {
      pairs.insert(pairs.end(), {static_cast<std::int64_t>(i), static_cast<std::int64_t>(block.begin[q])});
    }
  }
  LocalLink alone;
  Team team(1);
  DifferenceSpan<T> span({{block.values.data(), n, block.n_features}, {pairs.data(), n, 2}, {}}, alone, team);
  span.factorise();
  const std::size_t r = span.rank();
  const AlignedVector<double> coordinates = span.coordinates();
  Scatters scatters = query_scatters<T>(block, {coordinates.data(), n, r});
  const double scale = std::pow(mean_metric(scatters, params, r), 2 * params.t - 1);
  const MatrixView<const double> w(scatters.similar.data(), r, r);
  const MatrixView<double> square(scatters.dissimilar.data(), r, r);
  gemm<double>(Op::transpose, Op::none, 1, w, w, 0, square);
  const ArrayMap factors = factored_metric(span, scatters.dissimilar, false, scale);
  const auto basis = at(factors, "basis").template as<T>(), values = at(factors, "eigenvalues").template as<T>();
  metric.basis.assign(basis.begin(), basis.end());
  metric.scale = static_cast<T>(scale);
  for (const T value : values) metric.stretch.push_back(value - metric.scale);
  write_root(values, block.n_features, metric);
}

// NDCG of all queries but for the document `anchor`, the others ranked by distance; the weighted mean over queries.
class AnchorJudge {
 public:
  template <class T>
  explicit AnchorJudge(const QueryBlock<T>& block)
      : begin_(block.begin), sums_(kNdcgPlaces + 1), order_(block.grade.size()) {
    kernels::discount_sums(sums_);
    std::transform(block.grade.begin(), block.grade.end(), std::back_inserter(gains_), exponential_gain);
    for (std::size_t q = 0; q + 1 < begin_.size(); ++q) {
      const auto gains = std::span(gains_).subspan(begin_[q], begin_[q + 1] - begin_[q]);
      ideal_.push_back(dcg(gains, gains));
    }
  }

  double operator()(std::size_t anchor, std::span<const double> scores) {
    double sum = 0, queries = 0;
    for (std::size_t q = 0; q + 1 < begin_.size(); ++q) {
      const std::size_t first = begin_[q], n = begin_[q + 1] - first;
      std::span<const double> score = scores.subspan(first, n), gain = std::span(gains_).subspan(first, n);
      double ideal = ideal_[q];
      if (anchor >= first && anchor < first + n) {
        without(anchor - first, score, others_score_);
        without(anchor - first, gain, others_gain_);
        score = others_score_;
        gain = others_gain_;
        ideal = dcg(gain, gain);
      }
      if (ideal <= 0) continue;
      sum += dcg(score, gain) / ideal;
      queries += 1;
    }
    return queries > 0 ? sum / queries : 0;
  }

 private:
  double dcg(std::span<const double> scores, std::span<const double> gains) {
    return kernels::expected_dcg(scores, gains, kNdcgPlaces, sums_, std::span(order_).first(scores.size()));
  }
  static void without(std::size_t i, std::span<const double> from, std::vector<double>& out) {
    out.assign(from.begin(), from.end());
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(i));
  }

  std::span<const std::size_t> begin_;
  std::vector<double> sums_, gains_, ideal_, others_score_, others_gain_;
  std::vector<std::uint32_t> order_;
};

// Relevant documents of the queries that the metric was learned from; all of them, or some drawn at random.
template <class T>
std::vector<std::size_t> candidates(const QueryBlock<T>& block, std::uint64_t seed, std::uint32_t number) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < block.n_learn_rows(); ++i) {
    if (block.grade[i] > 0 && block.weight[i] > 0) found.push_back(i);
  }
  Stream stream(seed, Purpose::init_row, number);
  shuffle(std::span(found), stream);
  found.resize(std::min(found.size(), kCandidates));
  return found;
}

// Distances of all rows to the candidates by products of the mapped rows: exact enough to rank.
template <class T>
std::size_t choose_anchor(const QueryBlock<T>& block, const LocalMetric<T>& metric,
                          std::span<const std::size_t> chosen) {
  const std::size_t n = block.grade.size(), d = block.n_features;
  AlignedVector<T> centred(n * d), mapped(n * d), products(chosen.size() * n), few;
  for (std::size_t i = 0; i < n; ++i) {
    const auto row = block.rows().row(i);
    std::transform(row.begin(), row.end(), block.values.begin(), centred.data() + i * d, std::minus<>{});
  }
  gemm<T>(Op::none, Op::transpose, 1, {centred.data(), n, d}, {metric.components.data(), d, d}, 0,
          {mapped.data(), n, d});
  std::vector<double> norms(n), scores(n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < d; ++j) norms[i] += static_cast<double>(mapped[i * d + j] * mapped[i * d + j]);
  }
  require(std::all_of(norms.begin(), norms.end(), [](double norm) { return std::isfinite(norm); }),
          "X: the squared distances of documents overflow; scale the features");
  for (const std::size_t c : chosen) few.insert(few.end(), mapped.data() + c * d, mapped.data() + (c + 1) * d);
  gemm<T>(Op::none, Op::transpose, 1, {few.data(), chosen.size(), d}, {mapped.data(), n, d}, 0,
          {products.data(), chosen.size(), n});
  AnchorJudge judge(block);
  std::size_t best = chosen[0];
  double highest = -1;
  for (std::size_t c = 0; c < chosen.size(); ++c) {
    for (std::size_t i = 0; i < n; ++i) scores[i] = 2 * static_cast<double>(products[c * n + i]) - norms[i];
    const double ndcg = judge(chosen[c], scores);
    if (ndcg > highest) {
      highest = ndcg;
      best = chosen[c];
    }
  }
  return best;
}

}  // namespace

template <class T>
LocalMetric<T> learn_local_metric(const QueryBlock<T>& block, const LocalMetricParams& params, std::uint64_t seed,
                                  std::uint32_t number) {
  LocalMetric<T> metric;
  if (block.n_features <= block.n_learn_rows()) {
    learn_dense(block, params, metric);
  } else {
    learn_in_span(block, params, metric);
  }
  const std::vector<std::size_t> chosen = candidates(block, seed, number);
  const auto row = block.rows().row(choose_anchor<T>(block, metric, chosen));
  metric.anchor.assign(row.begin(), row.end());
  return metric;
}

template <class T>
AnchorDistance<T> LocalMetric<T>::distance() const {
  const std::size_t d = anchor.size();
  if (stretch.empty()) return {{components.data(), d, d}, {}, scale, anchor};
  return {{basis.data(), stretch.size(), d}, stretch, scale, anchor};
}

template <class T>
void LocalMetric<T>::divide_by(double unit) {
  const auto length = static_cast<T>(std::sqrt(unit)), square = static_cast<T>(unit);
  for (T& value : components) value /= length;
  for (T& value : stretch) value /= square;
  scale /= square;
}

template <class T>
void anchor_distances(const AnchorDistance<T>& metric, MatrixView<const T> x, std::span<const std::int64_t> order,
                      std::span<double> out) {
  const std::size_t n = out.size(), d = x.cols(), k = metric.rows.rows();
  AlignedVector<T> differences(n * d), mapped(n * k);
  for (std::size_t i = 0; i < n; ++i) {
    const auto row = x.row(order.empty() ? i : static_cast<std::size_t>(order[i]));
    std::transform(row.begin(), row.end(), metric.anchor.begin(), differences.data() + i * d, std::minus<>{});
  }
  gemm<T>(Op::none, Op::transpose, 1, {differences.data(), n, d}, metric.rows, 0, {mapped.data(), n, k});
  for (std::size_t i = 0; i < n; ++i) {
    T inside = 0, whole = 0;
    const T* const z = mapped.data() + i * k;
    const T* const difference = differences.data() + i * d;
    if (metric.stretch.empty()) {
#pragma omp simd reduction(+ : inside)
      for (std::size_t j = 0; j < k; ++j) inside += z[j] * z[j];
    } else {
#pragma omp simd reduction(+ : inside)
      for (std::size_t j = 0; j < k; ++j) inside += metric.stretch[j] * z[j] * z[j];
#pragma omp simd reduction(+ : whole)
      for (std::size_t j = 0; j < d; ++j) whole += difference[j] * difference[j];
    }
    out[i] = static_cast<double>(std::max(inside + metric.scale * whole, T{0}));
  }
}

template struct LocalMetric<float>;
template LocalMetric<float> learn_local_metric(const QueryBlock<float>&, const LocalMetricParams&, std::uint64_t,
                                               std::uint32_t);
template void anchor_distances(const AnchorDistance<float>&, MatrixView<const float>, std::span<const std::int64_t>,
                               std::span<double>);
template struct LocalMetric<double>;
template LocalMetric<double> learn_local_metric(const QueryBlock<double>&, const LocalMetricParams&, std::uint64_t,
                                                std::uint32_t);
template void anchor_distances(const AnchorDistance<double>&, MatrixView<const double>, std::span<const std::int64_t>,
                               std::span<double>);

}  // namespace steppe
