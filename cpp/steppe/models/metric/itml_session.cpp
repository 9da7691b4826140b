#include "steppe/models/metric/itml_session.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "steppe/kernels/rank_one.hpp"
#include "steppe/models/metric/blocked_matrix.hpp"
#include "steppe/models/metric/metric_factors.hpp"

namespace steppe {
namespace {

constexpr std::uint32_t kRoundsToRebuild = 50;  // rounding of so many sweeps may pile up
constexpr std::uint32_t kRoundsToGap = 10;
constexpr double kFeasible = 1e-12;  // without slack: a bound missed by a millionth counts as kept
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

ItmlForm parse_form(const std::string& name, const ItmlForm best) {
  if (name == "auto") return best;
  if (name == "dense") return ItmlForm::dense;
  if (name == "span") return ItmlForm::span;
  if (name == "products") return ItmlForm::products;
  throw InvalidArgument("form='" + name + "' is unknown; choose 'auto', 'dense', 'span' or 'products'");
}

template <class T>
class ItmlSession final : public FitSession {
  using Matrix = BlockedMatrix<T>;

 public:
  ItmlSession(const ItmlParams& params, const ItmlData<T>& data, Link& link)
      : params_(params), data_(data), link_(link), team_(params.n_threads), dual_(data.sign.size(), 0.0) {
    const PointPairs<T>& points = data.points;
    const std::size_t c = points.n_pairs(), d = points.n_features();
    form_ = parse_form(params.form,
                       points.prior.rows() > 0 ? ItmlForm::dense : choose_itml_form(points.points.rows(), c, d));
    if (form_ == ItmlForm::dense) {
      matrix_ = std::make_unique<Matrix>(Matrix::Kind::vectors, difference_rows(points, team_), c, d, link_, team_);
    } else {
      start_from_span(c, d);
    }
    if (params.block > 0) matrix_->set_block(params.block);
    if (!data.start_dual.empty()) start_warm();
  }

  Progress advance(std::uint32_t rounds, Control& control) override {
    Progress progress;
    Pacer pacer(control);
    for (std::uint32_t round = 0; round < rounds && !progress.stopped; ++round) {
      progress.loss = sweep(pacer, progress.stopped);
      progress.updates += dual_.size();
      gaps_.push_back(kNaN);
      if (!progress.stopped && gaps_.size() % kRoundsToRebuild == 0) rebuild();
    }
    matrix_->flush();
    return progress;
  }

  double objective(Control&) override {
    if (gaps_.size() % kRoundsToGap == 1) find_gap();
    return log_det_ - slack_value();
  }

  std::uint32_t rounds_done() const override { return static_cast<std::uint32_t>(gaps_.size()); }

  ArrayMap state() const override {
    return {{"dual", Array::copy_of(std::span<const double>(dual_))},
            {"matrix", matrix_->state()},
            {"log_det", Array::scalar(log_det_)},
            {"boldness", Array::scalar(boldness_)},
            {"gap", Array::copy_of(std::span<const double>(gaps_))}};
  }

  void restore(const ArrayMap& state) override {
    const auto dual = at(state, "dual").template as<double>();
    require(dual.size() == dual_.size(), "state: it is of a fit with another number of pairs");
    std::copy(dual.begin(), dual.end(), dual_.begin());
    matrix_->restore(at(state, "matrix"));
    log_det_ = at(state, "log_det").template as<double>()[0];
    boldness_ = at(state, "boldness").template as<double>()[0];
    const auto gaps = at(state, "gap").template as<double>();
    gaps_.assign(gaps.begin(), gaps.end());
  }

  ArrayMap result() override {
    if (!gaps_.empty() && std::isnan(gaps_.back())) find_gap();
    ArrayMap arrays = metric();
    Array dual = Array::zeros<T>({dual_.size()});
    std::transform(dual_.begin(), dual_.end(), dual.template as<T>().begin(),
                   [](double value) { return static_cast<T>(value); });
    arrays["dual"] = std::move(dual);
    arrays["gap"] = Array::copy_of(std::span<const double>(gaps_));
    return arrays;
  }

 private:
  void start_from_span(std::size_t c, std::size_t d) {
    DifferenceSpan<T> span(data_.points, link_, team_);
    AlignedVector<T> data;
    if (form_ == ItmlForm::products) data = span.products();
    if (form_ == ItmlForm::span || d > kDenseFeatures) span.factorise();
    if (form_ == ItmlForm::span) {
      const AlignedVector<double> z = span.coordinates();
      data.assign(z.begin(), z.end());
    }
    const auto kind = form_ == ItmlForm::span ? Matrix::Kind::vectors : Matrix::Kind::products;
    matrix_ =
        std::make_unique<Matrix>(kind, std::move(data), c, form_ == ItmlForm::span ? span.rank() : c, link_, team_);
    if (d > kDenseFeatures) span_ = std::make_unique<DifferenceSpan<T>>(std::move(span));
  }

  // One visit of every constraint; returns the sum of the changes of dual.
  double sweep(Pacer& pacer, bool& stopped) {
    double moved = 0;
    bool wanted = false;
    for (std::size_t block = 0; block < matrix_->n_blocks(); ++block) {
      wanted |= pacer.stop_requested();
      const std::size_t begin = matrix_->block_begin(block), b = matrix_->block_end(block) - begin;
      s_.resize(b * b);
      beta_.resize(b);
      const bool seen = matrix_->load(block, {s_.data(), b, b}, wanted);
      if (matrix_->shared() || link_.size() == 1) stopped |= seen;
      if (stopped) return moved;
      moved += params_.in_parallel ? move_together(begin) : move_in_turn(begin);
    }
    if (!matrix_->shared() && link_.size() > 1) {
      std::uint64_t requests = wanted ? 1 : 0;
      sum_over_ranks(link_, std::span<std::uint64_t>(&requests, 1));
      stopped = requests > 0;
    }
    return moved;
  }

  MatrixView<T> s() { return {s_.data(), beta_.size(), beta_.size()}; }

  double move_in_turn(std::size_t begin) {
    const std::size_t b = beta_.size();
    const kernels::BlockChange change =
        kernels::project_in_turn(s(),
                                 {data_.sign.subspan(begin, b), data_.target.subspan(begin, b),
                                  std::span(dual_).subspan(begin, b), params_.gamma},
                                 beta_);
    log_det_ += change.log_det;
    matrix_->update(s(), beta_);
    return change.dual;
  }

  // All constraints of the block step from the same A, in inverse space, so that the steps add up. Damped by
  // theta = min(1, 2 boldness / rho); halved until A stays positive definite and the dual does not fall.
  double move_together(std::size_t begin) {
    const std::size_t b = beta_.size();
    std::vector<double> full(b), step(b), dual(b);
    for (std::size_t k = 0; k < b; ++k) {
      const double p = static_cast<double>(s()(k, k));
      full[k] = p > 0 ? kernels::projection_step(p, data_.sign[begin + k], data_.target[begin + k], dual_[begin + k],
                                                 params_.gamma)
                      : 0;
    }
    const AlignedVector<T> before(s_);
    double theta = std::min(1.0, 2 * boldness_ / coherence(s()));
    for (int attempt = 0; attempt < 40; ++attempt, theta /= 2, boldness_ = std::max(boldness_ / 2, 1e-6)) {
      double slack = 0, moved = 0;
      for (std::size_t k = 0; k < b; ++k) {
        const double sign = data_.sign[begin + k];
        step[k] = theta * full[k];
        dual[k] = std::max(dual_[begin + k] - sign * step[k], 0.0);
        moved += std::abs(step[k]);
        slack += slack_term(begin + k, dual[k]) - slack_term(begin + k, dual_[begin + k]);
      }
      std::copy(before.begin(), before.end(), s_.begin());
      const kernels::BlockChange change = kernels::apply_in_turn(s(), step, beta_);
      const double gain = slack - change.log_det;
      if (!change.definite || !(gain >= -1e-13 * (std::abs(slack) + std::abs(change.log_det)))) continue;
      log_det_ += change.log_det;
      std::copy(dual.begin(), dual.end(), dual_.begin() + static_cast<std::ptrdiff_t>(begin));
      matrix_->update(s(), beta_);
      boldness_ = std::min(boldness_ * 1.3, 16.0);
      return moved;
    }
    return 0;
  }

  // rho = max_k sum_j S_kj^2 / (S_kk S_jj), between 1 (orthogonal) and b (all alike).
  static double coherence(MatrixView<T> s) {
    double largest = 1;
    for (std::size_t k = 0; k < s.rows(); ++k) {
      double sum = 0;
      for (std::size_t j = 0; j < s.rows(); ++j) {
        const double product = static_cast<double>(s(k, j));
        const double scale = static_cast<double>(s(k, k)) * static_cast<double>(s(j, j));
        sum += scale > 0 ? product * product / scale : 0;
      }
      largest = std::max(largest, sum);
    }
    return largest;
  }

  // A from the dual variables alone: those that add to A^-1 first, so that it is positive definite all the way. A
  // variable that would end that (of a warm start, or by rounding) becomes 0.
  void rebuild() {
    matrix_->reset();
    log_det_ = 0;
    for (const double sign : {1.0, -1.0}) {
      for (std::size_t block = 0; block < matrix_->n_blocks(); ++block) rebuild_block(block, sign);
    }
    matrix_->flush();
  }

  void rebuild_block(std::size_t block, double sign) {
    const std::size_t begin = matrix_->block_begin(block), b = matrix_->block_end(block) - begin;
    std::vector<double> step(b);
    for (std::size_t k = 0; k < b; ++k) {
      step[k] = data_.sign[begin + k] == sign ? -sign * dual_[begin + k] : 0;
    }
    if (std::all_of(step.begin(), step.end(), [](double value) { return value == 0; })) return;
    s_.resize(b * b);
    beta_.resize(b);
    matrix_->load(block, s());
    log_det_ += kernels::apply_in_turn(s(), step, beta_).log_det;
    for (std::size_t k = 0; k < b; ++k) {
      if (step[k] != 0 && beta_[k] == 0) dual_[begin + k] = 0;
    }
    matrix_->update(s(), beta_);
  }

  void start_warm() {
    for (std::size_t k = 0; k < dual_.size(); ++k) {
      const double limit = data_.sign[k] > 0 ? 0.999 * params_.gamma / data_.target[k] : data_.start_dual[k];
      dual_[k] = std::clamp(data_.start_dual[k], 0.0, limit);
    }
    rebuild();
  }

  double slack_term(std::size_t k, double dual) const {
    const double moved = data_.sign[k] * dual * data_.target[k];
    return std::isinf(params_.gamma) ? -moved : params_.gamma * std::log1p(-moved / params_.gamma);
  }

  double slack_value() const {
    double sum = 0;
    for (std::size_t k = 0; k < dual_.size(); ++k) sum += slack_term(k, dual_[k]);
    return sum;
  }

  // Primal less dual objective, at A and the best slack for it. tr(A A0^-1) - d = -sum_k sign lambda p.
  void find_gap() {
    std::vector<double> p(dual_.size());
    matrix_->quadratic_forms(p);
    double trace = 0, slack = 0;
    for (std::size_t k = 0; k < p.size(); ++k) {
      trace -= data_.sign[k] * dual_[k] * p[k];
      const double excess =
          data_.sign[k] > 0 ? std::max(p[k] / data_.target[k], 1.0) : std::min(p[k] / data_.target[k], 1.0);
      const double price = excess - std::log(excess) - 1;
      if (price > kFeasible || std::isfinite(params_.gamma)) slack += params_.gamma * price;
    }
    gaps_.back() = trace + slack - slack_value();
  }

  // From the dual variables, in double precision: free of the rounding of the sweeps.
  ArrayMap metric() {
    const PointPairs<T>& points = data_.points;
    const std::size_t c = points.n_pairs();
    std::vector<double> weights(c);
    for (std::size_t k = 0; k < c; ++k) weights[k] = data_.sign[k] * dual_[k];
    const std::size_t m = span_ ? span_->rank() : points.n_features();
    AlignedVector<double> inverse(m * m, 0);
    for (std::size_t i = 0; i < m; ++i) inverse[i * m + i] = 1;
    const MatrixView<double> view(inverse.data(), m, m);
    if (span_) {
      const AlignedVector<double> z = span_->coordinates();
      add_scatter<double>(view, {z.data(), c, m}, weights, team_);
      return factored_metric(*span_, view, true, 1.0);
    }
    const AlignedVector<T> z = difference_rows(points, team_);
    add_scatter<T>(view, {z.data(), c, m}, weights, team_);
    return dense_metric<T>(view, points.prior);
  }

  ItmlParams params_;
  ItmlData<T> data_;
  Link& link_;
  Team team_;
  ItmlForm form_ = ItmlForm::dense;
  std::vector<double> dual_;
  double log_det_ = 0;  // log det(A A0^-1)
  double boldness_ = 1;
  std::vector<double> gaps_;
  AlignedVector<T> s_;
  std::vector<double> beta_;
  std::unique_ptr<DifferenceSpan<T>> span_;  // where the result stays in factors
  std::unique_ptr<Matrix> matrix_;
};

}  // namespace

ItmlForm choose_itml_form(std::size_t n_points, std::size_t n_pairs, std::size_t n_features) {
  constexpr double kSweeps = 30;
  const auto c = static_cast<double>(n_pairs), d = static_cast<double>(n_features);
  const auto n = static_cast<double>(std::min(n_points, n_pairs));
  const double r = std::min({static_cast<double>(n_points) - 1, c, d});
  const double gram = n * n * d;
  const double products = gram + kSweeps * 2 * c * c * c;
  const double span = gram + n * n * n / 3 + kSweeps * 4 * r * r * c;
  const double dense = n_features <= kDenseFeatures ? kSweeps * 4 * d * d * c : std::numeric_limits<double>::infinity();
  if (dense <= std::min(products, span)) return ItmlForm::dense;
  return span <= products ? ItmlForm::span : ItmlForm::products;
}

template <class T>
std::unique_ptr<FitSession> make_itml_session(const ItmlParams& params, const ItmlData<T>& data, Link& link) {
  return std::make_unique<ItmlSession<T>>(params, data, link);
}

template std::unique_ptr<FitSession> make_itml_session(const ItmlParams&, const ItmlData<float>&, Link&);
template std::unique_ptr<FitSession> make_itml_session(const ItmlParams&, const ItmlData<double>&, Link&);

}  // namespace steppe
