#include "steppe/models/metric/itml_session.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "steppe/kernels/rank_one.hpp"
#include "steppe/models/metric/blocked_matrix.hpp"
#include "steppe/models/metric/metric_factors.hpp"
#include "steppe/models/metric/polling.hpp"

namespace steppe {
namespace {

constexpr std::uint32_t kRoundsToRebuild = 50;  // rounding of so many sweeps may pile up
constexpr std::uint32_t kRoundsToGap = 10;
constexpr double kFeasible = 1e-12;      // without slack: a bound missed by a millionth counts as kept
constexpr double kGainRounding = 1e-13;  // relative to the terms of a gain
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
 public:
  ItmlSession(const ItmlParams& params, const ItmlData<T>& data, Link& link)
      : params_(params), data_(data), link_(link), team_(params.n_threads), dual_(data.sign.size(), 0.0) {
    const PointPairs<T>& points = data.points;
    form_ = parse_form(params.form, points.prior.rows() > 0 ? ItmlForm::dense
                                                            : choose_itml_form(points.points.rows(), points.n_pairs(),
                                                                               points.n_features()));
    if (!data.start_dual.empty()) start_warm();
  }

  Progress advance(std::uint32_t rounds, Control& control) override {
    Progress progress;
    Pacer pacer(control);
    fitted_.clear();
    progress.stopped = !begin(&pacer);
    for (std::uint32_t round = 0; round < rounds && !progress.stopped; ++round) {
      left_out_ = 0;
      progress.stopped = !sweep(pacer, progress.loss);
      if (progress.stopped) break;
      progress.updates += dual_.size();
      gaps_.push_back(kNaN);
      if (gaps_.size() % kRoundsToRebuild == 0) progress.stopped = !rebuild(&pacer);
    }
    if (!progress.stopped) progress.stopped = !matrix_->flush(alone(&pacer));
    stale_ |= progress.stopped;
    return progress;
  }

  double objective(Control& control) override {
    Pacer pacer(control);
    const bool gap_is_due = gaps_.size() % kRoundsToGap == 1;
    if ((stale_ || (gap_is_due && !matrix_)) && !begin(&pacer)) return kNaN;
    if (gap_is_due) find_gap(&pacer);
    return log_det_ - slack_value();
  }

  std::uint32_t rounds_done() const override { return static_cast<std::uint32_t>(gaps_.size()); }

  ArrayMap state() const override {
    invariant(matrix_ && !stale_, "a fit without a whole matrix has no state");
    return {{"dual", Array::copy_of(std::span<const double>(dual_))},
            {"matrix", matrix_->state()},
            {"log_det", Array::scalar(log_det_)},
            {"boldness", Array::scalar(boldness_)},
            {"shrunk", Array::scalar(shrunk_)},
            {"gap", Array::copy_of(std::span<const double>(gaps_))}};
  }

  void restore(const ArrayMap& state) override {
    copy_at(state, "dual", std::span(dual_));
    rows_ = at(state, "matrix");
    log_det_ = scalar_at<double>(state, "log_det");
    boldness_ = scalar_at<double>(state, "boldness");
    shrunk_ = scalar_at<std::uint64_t>(state, "shrunk");
    const auto gaps = at(state, "gap").template as<double>();
    gaps_.assign(gaps.begin(), gaps.end());
    fitted_.clear();
    stale_ = false;
    if (matrix_) matrix_->restore(*std::exchange(rows_, std::nullopt));
  }

  bool prepare_result(Control& control) override {
    Pacer pacer(control);
    return ends_everywhere(link_, [&] { finish(&pacer); });
  }

  ArrayMap result() override {
    finish(nullptr);
    return std::exchange(fitted_, {});
  }

 private:
  // What comes before the first sweep, and what a stop has left undone. False if a stop was asked for on any rank.
  bool begin(Pacer* pacer) {
    if (!matrix_ && !ends_everywhere(link_, [&] { make_matrix(pacer); })) {
      matrix_.reset();
      span_.reset();
      return false;
    }
    if (rows_) matrix_->restore(*std::exchange(rows_, std::nullopt));
    return !stale_ || rebuild(pacer);
  }

  void make_matrix(Pacer* pacer) {
    const PointPairs<T>& points = data_.points;
    const std::size_t c = points.n_pairs(), d = points.n_features();
    if (form_ == ItmlForm::dense) {
      matrix_ = std::make_unique<BlockedMatrix>(difference_rows(points, team_, pacer), c, d, link_, team_);
    } else {
      make_matrix_of_span(c, d, pacer);
    }
    if (params_.block > 0) matrix_->set_block(params_.block);
  }

  void make_matrix_of_span(std::size_t c, std::size_t d, Pacer* pacer) {
    DifferenceSpan<T> span(data_.points, link_, team_, pacer);
    AlignedVector<double> products;
    if (form_ == ItmlForm::products) products = span.products(pacer);
    if (form_ == ItmlForm::span || d > kDenseFeatures) span.factorise(pacer);
    if (form_ == ItmlForm::span) {
      matrix_ =
          std::make_unique<BlockedMatrix>(stored_rows(span.coordinates(), span.rank()), c, span.rank(), link_, team_);
    } else {
      matrix_ = std::make_unique<BlockedMatrix>(std::move(products), c, link_, team_);
    }
    if (d > kDenseFeatures) span_ = std::make_unique<DifferenceSpan<T>>(std::move(span));
  }

  // Ranks that each hold the whole matrix go through no exchange in which one could tell the others to stop.
  bool hears() const { return link_.size() == 1 || matrix_->shared(); }
  Pacer* heard(Pacer* pacer) const { return hears() ? pacer : nullptr; }
  Pacer* alone(Pacer* pacer) const { return link_.size() == 1 ? pacer : nullptr; }

  // One visit of every constraint; `moved` becomes the sum of the changes of dual. False if a stop was asked for.
  bool sweep(Pacer& pacer, double& moved) {
    constexpr std::size_t kWork = std::size_t{1} << 30;  // multiply-adds between two questions to all ranks
    moved = 0;
    std::size_t work = 0;
    for (std::size_t block = 0; block < matrix_->n_blocks(); ++block) {
      const std::size_t begin = matrix_->block_begin(block), b = matrix_->block_end(block) - begin;
      s_.resize(b * b);
      beta_.resize(b);
      if (!hears() && (work += matrix_->size() * matrix_->size() * b) > kWork) {
        if (stop_anywhere(pacer)) return false;
        work = 0;
      }
      if (!matrix_->load(block, s(), heard(&pacer))) return false;
      moved += params_.in_parallel ? move_together(begin) : move_in_turn(begin);
    }
    return hears() || !stop_anywhere(pacer);
  }

  bool stop_anywhere(Pacer& pacer) {
    std::uint64_t requests = pacer.stop_requested() ? 1 : 0;
    sum_over_ranks(link_, std::span<std::uint64_t>(&requests, 1));
    return requests > 0;
  }

  MatrixView<double> s() { return {s_.data(), beta_.size(), beta_.size()}; }

  double move_in_turn(std::size_t begin) {
    const std::size_t b = beta_.size();
    const kernels::BlockChange change =
        kernels::project_in_turn(s(),
                                 {data_.sign.subspan(begin, b), data_.target.subspan(begin, b),
                                  std::span(dual_).subspan(begin, b), params_.gamma},
                                 beta_);
    log_det_ += change.log_det;
    left_out_ += change.left_out;
    matrix_->update(s(), beta_);
    return change.dual;
  }

  // All constraints of the block step from the same A, in inverse space, so that the steps add up. Damped by
  // theta = min(1, 2 boldness / rho); halved until A stays positive definite and the dual does not fall.
  double move_together(std::size_t begin) {
    const std::size_t b = beta_.size();
    std::vector<double> full(b), step(b), dual(b);
    for (std::size_t k = 0; k < b; ++k) {
      const double p = s()(k, k);
      full[k] =
          kernels::projection_step(p, data_.sign[begin + k], data_.target[begin + k], dual_[begin + k], params_.gamma);
      if (kernels::projects(p, full[k])) continue;
      full[k] = 0;
      ++left_out_;
    }
    const AlignedVector<double> before(s_);
    double theta = std::min(1.0, 2 * boldness_ / coherence(s()));
    for (int attempt = 0; attempt < 40; ++attempt, theta /= 2, boldness_ = std::max(boldness_ / 2, 1e-6)) {
      double slack = 0, moved = 0, size = 0;  // size: of what is summed up to the gain
      for (std::size_t k = 0; k < b; ++k) {
        const double sign = data_.sign[begin + k];
        dual[k] = std::max(dual_[begin + k] - sign * theta * full[k], 0.0);
        step[k] = sign * (dual_[begin + k] - dual[k]);  // what the dual variable, rounded, has moved by
        moved += std::abs(step[k]);
        const double change = slack_change(begin + k, dual[k]);
        slack += change;
        size += std::abs(change) + std::abs(step[k]) * before[k * b + k];
      }
      std::copy(before.begin(), before.end(), s_.begin());
      const kernels::BlockChange change = kernels::apply_in_turn(s(), step, beta_);
      const double gain = slack - change.log_det;
      if (change.left_out > 0 || !(gain >= -kGainRounding * size)) continue;
      log_det_ += change.log_det;
      std::copy(dual.begin(), dual.end(), dual_.begin() + static_cast<std::ptrdiff_t>(begin));
      matrix_->update(s(), beta_);
      boldness_ = std::min(boldness_ * 1.3, 16.0);
      return moved;
    }
    return 0;
  }

  // rho = max_k sum_j S_kj^2 / (S_kk S_jj), between 1 (orthogonal) and b (all alike).
  static double coherence(MatrixView<double> s) {
    double largest = 1;
    for (std::size_t k = 0; k < s.rows(); ++k) {
      double sum = 0;
      for (std::size_t j = 0; j < s.rows(); ++j) {
        const double scale = s(k, k) * s(j, j);
        sum += scale > 0 ? s(k, j) * s(k, j) / scale : 0;
      }
      largest = std::max(largest, sum);
    }
    return largest;
  }

  // A from the dual variables alone: those that add to A^-1 first, so that it is positive definite all the way. A
  // variable that would end that (of a warm start, or by rounding) is halved until it does not. False if stopped.
  bool rebuild(Pacer* pacer) {
    stale_ = true;
    matrix_->reset();
    log_det_ = 0;
    for (const double sign : {1.0, -1.0}) {
      for (std::size_t block = 0; block < matrix_->n_blocks(); ++block) {
        if (!rebuild_block(block, sign, heard(pacer))) return false;
      }
    }
    if (!matrix_->flush(alone(pacer))) return false;
    stale_ = false;
    if (gaps_.empty()) shrunk_ = 0;  // that a start does not fit is no wonder
    return true;
  }

  bool rebuild_block(std::size_t block, double sign, Pacer* pacer) {
    constexpr int kHalvings = 60;
    const std::size_t begin = matrix_->block_begin(block), b = matrix_->block_end(block) - begin;
    std::vector<double> step(b);
    for (std::size_t k = 0; k < b; ++k) {
      step[k] = data_.sign[begin + k] == sign ? -sign * dual_[begin + k] : 0;
    }
    const auto is_zero = [](double value) { return value == 0; };
    for (int halvings = 0; !std::all_of(step.begin(), step.end(), is_zero); ++halvings) {
      s_.resize(b * b);
      beta_.resize(b);
      if (!matrix_->load(block, s(), pacer)) return false;
      log_det_ += kernels::apply_in_turn(s(), step, beta_).log_det;
      matrix_->update(s(), beta_);
      for (std::size_t k = 0; k < b; ++k) {
        if (step[k] == 0) continue;
        const bool made = beta_[k] != 0;
        if (!made) {
          shrunk_ += halvings == 0 ? 1 : 0;
          dual_[begin + k] = halvings < kHalvings ? dual_[begin + k] / 2 : 0;
        }
        step[k] = made ? 0 : -sign * dual_[begin + k];
      }
    }
    return true;
  }

  void start_warm() {
    for (std::size_t k = 0; k < dual_.size(); ++k) {
      const double limit = data_.sign[k] > 0 ? 0.999 * params_.gamma / data_.target[k] : data_.start_dual[k];
      dual_[k] = std::clamp(data_.start_dual[k], 0.0, limit);
    }
    stale_ = true;
  }

  double slack_term(std::size_t k, double dual) const {
    const double moved = data_.sign[k] * dual * data_.target[k];
    return std::isinf(params_.gamma) ? -moved : params_.gamma * std::log1p(-moved / params_.gamma);
  }

  // What a new value adds to the term; to the relative precision of a small step.
  double slack_change(std::size_t k, double dual) const {
    const double moved = data_.sign[k] * (dual - dual_[k]) * data_.target[k];
    if (std::isinf(params_.gamma)) return -moved;
    return params_.gamma * std::log1p(-moved / (params_.gamma - data_.sign[k] * dual_[k] * data_.target[k]));
  }

  double slack_value() const {
    double sum = 0;
    for (std::size_t k = 0; k < dual_.size(); ++k) sum += slack_term(k, dual_[k]);
    return sum;
  }

  // Primal less dual objective, at A and the best slack for it; nan if a stop was asked for.
  // tr(A A0^-1) - d = -sum_k sign lambda p.
  void find_gap(Pacer* pacer) {
    std::vector<double> p(dual_.size());
    if (!matrix_->quadratic_forms(p, heard(pacer))) return;
    double trace = 0, slack = 0;
    for (std::size_t k = 0; k < p.size(); ++k) {
      trace -= data_.sign[k] * dual_[k] * p[k];
      const double relative = std::max(p[k], 0.0) / data_.target[k];
      const double excess = data_.sign[k] > 0 ? std::max(relative, 1.0) : std::min(relative, 1.0);
      const double price = excess - std::log(excess) - 1;
      if (price > kFeasible || std::isfinite(params_.gamma)) slack += params_.gamma * price;
    }
    gaps_.back() = trace + slack - slack_value();
  }

  // The result; nothing before the end of the first sweep.
  void finish(Pacer* pacer) {
    if (gaps_.empty() || !fitted_.empty()) return;
    if (!matrix_ && !begin(pacer)) throw Stopped();
    if (std::isnan(gaps_.back()) && !stale_) find_gap(pacer);
    ArrayMap arrays = metric(pacer);
    Array dual = Array::zeros<T>({dual_.size()});
    std::transform(dual_.begin(), dual_.end(), dual.template as<T>().begin(),
                   [](double value) { return static_cast<T>(value); });
    arrays["dual"] = std::move(dual);
    arrays["gap"] = Array::copy_of(std::span<const double>(gaps_));
    arrays["shrunk"] = Array::scalar(shrunk_);
    arrays["left_out"] = Array::scalar(left_out_);
    fitted_ = std::move(arrays);
  }

  // From the dual variables: free of the rounding of the sweeps.
  ArrayMap metric(Pacer* pacer) {
    const PointPairs<T>& points = data_.points;
    const std::size_t c = points.n_pairs();
    std::vector<double> weights(c);
    for (std::size_t k = 0; k < c; ++k) weights[k] = data_.sign[k] * dual_[k];
    const std::size_t m = span_ ? span_->rank() : points.n_features();
    AlignedVector<double> inverse(m * m, 0);
    for (std::size_t i = 0; i < m; ++i) inverse[i * m + i] = 1;
    const MatrixView<double> view(inverse.data(), m, m);
    if (span_) {
      add_scatter(view, stored_rows(span_->coordinates(), m), weights, team_, pacer);
      return factored_metric(*span_, inverse, true, 1.0, pacer);
    }
    add_scatter(view, difference_rows(points, team_, pacer), weights, team_, pacer);
    return dense_metric<T>(inverse, m, points.prior, team_, pacer);
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
  std::uint64_t shrunk_ = 0;    // dual variables that a rebuilding could not take whole
  std::uint64_t left_out_ = 0;  // projections of the last sweep that rounding forbids
  AlignedVector<double> s_;
  std::vector<double> beta_;
  std::unique_ptr<DifferenceSpan<T>> span_;  // where the result stays in factors
  std::unique_ptr<BlockedMatrix> matrix_;    // from the first sweep on
  std::optional<Array> rows_;                // of a matrix that is still to be made
  bool stale_ = false;                       // whether the matrix is to be rebuilt
  ArrayMap fitted_;                          // a result that is still to be fetched
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
