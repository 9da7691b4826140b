#include "steppe/models/ot/semi_discrete_session.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "steppe/models/linear_model/lbfgs.hpp"
#include "steppe/models/ot/ranks_dual.hpp"

namespace steppe {
namespace {

constexpr double kFirstReg = 0.25;  // of what a point gains by choosing its site
constexpr double kCooling = 8;      // from stage to stage
constexpr int kStepsOfStage = 40;
constexpr std::uint64_t kRowsOfSite = 16, kLeastRows = 4096;

constexpr double kRough = 5e-3;  // mass error that ends a stage over some of the rows

// Below this part of the first regularisation, differences of costs are rounding.
template <class T>
constexpr double kColdest = std::numeric_limits<T>::digits == 24 ? 1e-6 : 1e-12;

// The soft mass error that ends a stage: enough below the tolerance of the fit, and above rounding.
template <class T>
double stage_tolerance(double tol) {
  return std::clamp(tol / 4, std::numeric_limits<T>::digits == 24 ? 1e-3 : 1e-6, kRough);
}

template <class T>
class SemiDiscreteSession final : public FitSession {
 public:
  SemiDiscreteSession(const SemiDiscreteParams& params, const SemiDiscreteData<T>& data, Link& link)
      : params_(params), start_reg_(data.start_reg), n_features_(data.sites.cols()), team_(params.n_threads),
        dual_(params, data, link, team_), variables_(dual_.n_variables()) {
    if (!data.start.empty()) variables_ = dual_.variables(data.start);
    dual_.centre(variables_);
  }

  Progress advance(std::uint32_t rounds, Control& control) override {
    Progress progress;
    for (std::uint32_t round = 0; round < rounds; ++round) {
      if (!converged_ && !run_stage(progress, control)) {
        progress.stopped = true;
        return progress;
      }
      ++rounds_;
    }
    progress.loss = -reached_.dual;
    return progress;
  }

  double objective(Control& control) override {
    if (!reached_.known && !evaluate(control)) return std::numeric_limits<double>::quiet_NaN();
    return -reached_.dual;
  }

  std::uint32_t rounds_done() const override { return rounds_; }
  bool converged() const override { return converged_; }

  ArrayMap state() const override {
    ArrayMap state;
    state["variables"] = Array::copy_of(std::span<const double>(variables_));
    state["votes"] = Array::copy_of(std::span<const double>(reached_.votes));
    const std::vector<double> numbers{reg_, first_reg_, upper_, reached_.dual, reached_.mass_error, reached_.gap};
    state["numbers"] = Array::copy_of(std::span<const double>(numbers));
    const std::vector<std::uint64_t> counts{rounds_, stride_, begun_, reached_.known, converged_, ready_};
    state["counts"] = Array::copy_of(std::span<const std::uint64_t>(counts));
    return state;
  }

  void restore(const ArrayMap& state) override {
    copy_at(state, "variables", std::span(variables_));
    reached_.votes.resize(at(state, "votes").data.empty() ? 0 : dual_.n_sites());
    copy_at(state, "votes", std::span(reached_.votes));
    std::array<double, 6> numbers;
    copy_at(state, "numbers", std::span<double>(numbers));
    reg_ = numbers[0];
    first_reg_ = numbers[1];
    upper_ = numbers[2];
    reached_.dual = numbers[3];
    reached_.mass_error = numbers[4];
    reached_.gap = numbers[5];
    std::array<std::uint64_t, 6> counts;
    copy_at(state, "counts", std::span<std::uint64_t>(counts));
    rounds_ = static_cast<std::uint32_t>(counts[0]);
    stride_ = std::max<std::uint64_t>(counts[1], 1);
    begun_ = counts[2] != 0;
    reached_.known = counts[3] != 0;
    converged_ = counts[4] != 0;
    ready_ = counts[5] != 0;
  }

  ArrayMap result() override {
    Control nobody;
    if (!reached_.known) evaluate(nobody);
    const std::vector<double> phi = dual_.potentials(variables_);
    const auto gradient = dual_.site_gradient(variables_, params_.reg, nobody);
    ArrayMap fitted;
    fitted["potential"] = converted(phi, {dual_.n_measures(), dual_.n_sites()});
    fitted["votes"] = converted(reached_.votes, {dual_.n_sites()});
    fitted["gradient"] = converted(*gradient, {dual_.n_sites(), n_features_});
    fitted["cost"] = Array::scalar(reached_.dual);
    fitted["mass_error"] = Array::scalar(reached_.mass_error);
    fitted["dual_gap"] = Array::scalar(reached_.gap);
    fitted["annealed_to"] = Array::scalar(reg_);
    return fitted;
  }

 private:
  // What the variables amount to over all rows.
  struct Reached {
    bool known = false;
    double dual = 0, mass_error = 1, gap = std::numeric_limits<double>::infinity();
    std::vector<double> votes;
  };
  using Value = typename RanksDual<T>::Value;

  static Array converted(std::span<const double> values, std::vector<std::size_t> shape) {
    Array array = Array::zeros<T>(std::move(shape));
    std::transform(values.begin(), values.end(), array.template as<T>().begin(),
                   [](double value) { return static_cast<T>(value); });
    return array;
  }

  void begin(Control& control) {
    const std::uint64_t wanted =
        params_.batch_rows > 0
            ? params_.batch_rows
            : std::max<std::uint64_t>(kRowsOfSite * dual_.n_sites() * dual_.n_measures(), kLeastRows);
    for (stride_ = 1; dual_.n_rows() / (2 * stride_) >= wanted;) stride_ *= 2;
    first_reg_ = std::max(params_.reg, kFirstReg * dual_.spread_of_costs(stride_, control));
    reg_ = start_reg_ > 0 ? std::clamp(start_reg_, params_.reg, first_reg_) : first_reg_;
    begun_ = true;
  }

  void cool() {
    reg_ = std::max({params_.reg, reg_ / kCooling, first_reg_ * kColdest<T>});
    stride_ = std::max<std::uint64_t>(stride_ / 2, 1);
  }

  // One stage; false if a stop was asked for.
  bool run_stage(Progress& progress, Control& control) {
    if (!begun_) {
      begin(control);
    } else if (ready_) {
      cool();
    }
    reached_.known = false;
    std::optional<Value> soft;
    if (dual_.n_variables() > 0 && !climb(soft, progress, control)) return false;
    progress.updates += dual_.work(1);
    if (!evaluate(control)) return false;
    if (soft && stride_ == 1 && (dual_.fixed() || params_.reg == 0)) {
      upper_ = std::min(upper_, dual_.plan_cost(variables_, *soft));
    }
    if (dual_.n_variables() == 0) upper_ = reached_.dual;
    reached_.gap = std::max(upper_ - reached_.dual, 0.0);
    const bool cold = params_.reg == 0 || (reg_ == params_.reg && stride_ == 1) || dual_.n_variables() == 0;
    converged_ =
        params_.tol > 0 && cold &&
        (reached_.mass_error <= params_.tol || reached_.gap <= params_.tol * params_.tol * std::abs(reached_.dual));
    return true;
  }

  // Quasi-Newton steps at this regularisation over this stage's rows; `soft` becomes the value where they end.
  bool climb(std::optional<Value>& soft, Progress& progress, Control& control) {
    std::vector<double> point;  // of the last evaluation
    const auto function = [&](std::span<const double> at, std::span<double> gradient) -> std::optional<double> {
      auto value = dual_.evaluate(at, reg_, stride_, control);
      if (!value) return std::nullopt;
      progress.updates += dual_.work(stride_);
      dual_.gradient(*value, gradient);
      for (double& slope : gradient) slope = -slope;
      point.assign(at.begin(), at.end());
      soft = std::move(value);
      return -soft->dual;
    };
    Lbfgs<double> lbfgs(variables_, dual_.inverse_curvature(reg_), 1, function, team_);
    auto outcome = lbfgs.value() ? Lbfgs<double>::Outcome::moved : Lbfgs<double>::Outcome::stopped;
    const double enough = stride_ > 1 ? kRough : stage_tolerance<T>(params_.tol);
    for (int step = 0; step < kStepsOfStage && outcome == Lbfgs<double>::Outcome::moved; ++step) {
      if (dual_.mass_error(*soft) <= enough) break;
      outcome = lbfgs.step();
    }
    const bool same = std::equal(point.begin(), point.end(), lbfgs.point().begin(), lbfgs.point().end());
    variables_.assign(lbfgs.point().begin(), lbfgs.point().end());
    dual_.centre(variables_);
    if (!same) soft.reset();
    ready_ = stride_ > 1 || outcome == Lbfgs<double>::Outcome::settled || (soft && dual_.mass_error(*soft) <= enough);
    return outcome != Lbfgs<double>::Outcome::stopped;
  }

  bool evaluate(Control& control) {
    const auto value = dual_.evaluate(variables_, params_.reg, 1, control);
    if (!value) return false;
    reached_ = {true, value->dual, dual_.mass_error(*value), std::numeric_limits<double>::infinity(),
                dual_.votes(*value)};
    return true;
  }

  SemiDiscreteParams params_;
  double start_reg_;
  std::size_t n_features_;
  Team team_;
  RanksDual<T> dual_;
  std::vector<double> variables_;
  double reg_ = 0, first_reg_ = 0;
  double upper_ = std::numeric_limits<double>::infinity();  // the cost of the best plan met
  std::uint64_t stride_ = 1;
  std::uint32_t rounds_ = 0;
  bool begun_ = false, converged_ = false;
  bool ready_ = false;  // whether the last stage came to its end, so that the next may be colder
  Reached reached_;
};

}  // namespace

std::unique_ptr<FitSession> make_semi_discrete_session(const SemiDiscreteParams& params,
                                                       const SemiDiscreteData<float>& data, Link& link) {
  return std::make_unique<SemiDiscreteSession<float>>(params, data, link);
}
std::unique_ptr<FitSession> make_semi_discrete_session(const SemiDiscreteParams& params,
                                                       const SemiDiscreteData<double>& data, Link& link) {
  return std::make_unique<SemiDiscreteSession<double>>(params, data, link);
}

}  // namespace steppe
