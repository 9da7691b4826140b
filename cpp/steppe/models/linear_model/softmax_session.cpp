#include "steppe/models/linear_model/softmax_session.hpp"

#include <algorithm>
#include <utility>

#include "steppe/models/linear_model/lbfgs.hpp"
#include "steppe/models/linear_model/softmax_objective.hpp"

namespace steppe {
namespace {

template <class T>
typename Lbfgs<T>::Vector padded_start(std::span<const T> weights, std::span<const T> intercept, std::size_t n_features,
                                       std::size_t n_classes, std::size_t lanes, std::size_t n_rows) {
  typename Lbfgs<T>::Vector start(n_rows * lanes, T{0});
  if (weights.empty()) return start;
  for (std::size_t j = 0; j < n_rows; ++j) {
    const T* from = j < n_features ? weights.data() + j * n_classes : intercept.data();
    std::copy_n(from, n_classes, start.data() + j * lanes);
  }
  return start;
}

template <class T>
class SoftmaxSession final : public FitSession {
 public:
  SoftmaxSession(const MultinomialLogisticParams& params, const LabelledRows<T>& rows,
                 std::vector<std::int32_t> columns, std::span<const T> start_weights,
                 std::span<const T> start_intercept, Link& link)
      : columns_(std::move(columns)), n_examples_(rows.size()), n_features_(rows.x.cols()),
        n_classes_(params.n_classes), fit_intercept_(params.fit_intercept), team_(params.n_threads),
        objective_(rows, params.n_classes, params.alpha, params.fit_intercept, params.total_weight, link, team_),
        lbfgs_(
            padded_start(start_weights, start_intercept, n_features_, n_classes_, objective_.lanes(),
                         objective_.n_rows()),
            objective_.inverse_curvature(), objective_.lanes(),
            [this](std::span<const T> at, std::span<T> gradient, Pacer& pacer) {
              return objective_(at, gradient, pacer);
            },
            [&link](bool mine) { return wanted_by_any(link, mine); }, team_) {}

  Progress advance(std::uint32_t rounds, Control& control) override {
    Progress progress;
    for (std::uint32_t round = 0; round < rounds; ++round) {
      if (!settled_) {
        const auto outcome = lbfgs_.step(control);
        if (outcome == Lbfgs<T>::Outcome::stopped) return {progress.updates, 0, true};
        settled_ = outcome == Lbfgs<T>::Outcome::settled;
        progress.updates += n_examples_ * n_classes_;
      }
      ++rounds_;
    }
    progress.loss = lbfgs_.value(control).value_or(0);
    return progress;
  }

  double objective(Control& control) override {
    return lbfgs_.value(control).value_or(std::numeric_limits<double>::quiet_NaN());
  }

  std::uint32_t rounds_done() const override { return rounds_; }

  ArrayMap state() const override {
    ArrayMap state;
    lbfgs_.save(state);
    state["rounds"] = Array::scalar(rounds_);
    state["settled"] = Array::scalar(static_cast<std::uint8_t>(settled_));
    return state;
  }
  void restore(const ArrayMap& state) override {
    lbfgs_.restore(state);
    rounds_ = at(state, "rounds").as<std::uint32_t>()[0];
    settled_ = at(state, "settled").as<std::uint8_t>()[0] != 0;
  }

  ArrayMap result() override {
    const auto rows_of = [&](std::size_t first, std::size_t n_rows, std::vector<std::size_t> shape) {
      Array array = Array::zeros<T>(std::move(shape));
      for (std::size_t j = 0; j < n_rows; ++j) {
        std::copy_n(lbfgs_.point().data() + (first + j) * objective_.lanes(), n_classes_,
                    array.template as<T>().data() + j * n_classes_);
      }
      return array;
    };
    ArrayMap fitted;
    fitted["weights"] = rows_of(0, n_features_, {n_features_, n_classes_});
    fitted["intercept"] = rows_of(n_features_, fit_intercept_ ? 1 : 0, {n_classes_});
    return fitted;
  }

 private:
  std::vector<std::int32_t> columns_;
  std::size_t n_examples_, n_features_, n_classes_;
  bool fit_intercept_;
  std::uint32_t rounds_ = 0;
  bool settled_ = false;
  Team team_;
  SoftmaxObjective<T> objective_;
  Lbfgs<T> lbfgs_;
};

}  // namespace

std::unique_ptr<FitSession> make_softmax_session(const MultinomialLogisticParams& params,
                                                 const LabelledRows<float>& rows, std::vector<std::int32_t> columns,
                                                 std::span<const float> start_weights,
                                                 std::span<const float> start_intercept, Link& link) {
  return std::make_unique<SoftmaxSession<float>>(params, rows, std::move(columns), start_weights, start_intercept,
                                                 link);
}
std::unique_ptr<FitSession> make_softmax_session(const MultinomialLogisticParams& params,
                                                 const LabelledRows<double>& rows, std::vector<std::int32_t> columns,
                                                 std::span<const double> start_weights,
                                                 std::span<const double> start_intercept, Link& link) {
  return std::make_unique<SoftmaxSession<double>>(params, rows, std::move(columns), start_weights, start_intercept,
                                                  link);
}

}  // namespace steppe
