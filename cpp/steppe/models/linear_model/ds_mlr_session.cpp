#include "steppe/models/linear_model/ds_mlr_session.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "steppe/kernels/row_scores.hpp"

namespace steppe {
namespace {

constexpr std::size_t kClassesAtOnce = 128;

// Adding one number to all intercepts changes nothing: of all equal solutions, that with mean zero.
template <class T>
void centre(std::span<T> intercept) {
  const double mean = std::accumulate(intercept.begin(), intercept.end(), 0.0) / double(intercept.size());
  for (T& value : intercept) value = static_cast<T>(double{value} - mean);
}

}  // namespace

template <class T>
DsMlrSession<T>::DsMlrSession(Problem problem, std::vector<Shard> shards, std::vector<std::int32_t> columns, Link& link,
                              DsMlrOptions options)
    : columns_(std::move(columns)), link_(link), options_(options), problem_(std::move(problem)),
      shards_(std::move(shards)) {
  running();
}

template <class T>
typename DsMlrSession<T>::Running& DsMlrSession<T>::running() const {
  if (!running_) {
    EngineOptions engine = options_.engine;
    engine.seed += rounds_before_;  // other orders than those already used
    running_ =
        std::make_unique<Running>(problem_, std::move(shards_), link_, options_.n_threads, engine, Problem::kTrain);
  }
  return *running_;
}

// Ends the engine and takes back the shards.
template <class T>
void DsMlrSession<T>::let_go() {
  shards_ = std::move(running_->shards());
  running_.reset();
  for (Shard& shard : shards_) shard.order_round = Shard::kNoRound;  // the next engine counts its rounds from 0
}

// Tokens whose making was stopped are made anew when they are needed.
template <class T>
void DsMlrSession<T>::let_go_unless_initialised() {
  if (!running_->initialised()) let_go();
}

template <class T>
Progress DsMlrSession<T>::advance(std::uint32_t rounds, Control& control) {
  const Progress progress = running().advance(rounds * options_.n_sweeps, control);
  let_go_unless_initialised();
  return progress;
}

template <class T>
double DsMlrSession<T>::objective(Control& control) {
  const double value = running().objective(control);
  let_go_unless_initialised();
  if (std::isnan(value)) {
    for (Shard& shard : shards()) std::ranges::fill(shard.sums, kernels::LogSum<T>{});  // half done
  }
  return value;
}

template <class T>
std::uint32_t DsMlrSession<T>::rounds_done() const {
  return (rounds_before_ + (running_ ? running_->rounds_done() : 0)) / options_.n_sweeps;
}

template <class T>
ArrayMap DsMlrSession<T>::state() const {
  Control undisturbed;
  running().initialise(undisturbed);  // tokens that were let go have to be made again first
  ArrayMap state = running().state();
  state["rounds_before"] = Array::scalar(rounds_before_);
  return state;
}

template <class T>
void DsMlrSession<T>::restore(const ArrayMap& state) {
  const auto before = at(state, "rounds_before").template as<std::uint32_t>()[0];
  if (running_ && before != rounds_before_) let_go();  // its orders are those of another engine
  rounds_before_ = before;
  running().restore(state);
}

// Only what is a sum over the rows of this process can be made again.
template <class T>
bool DsMlrSession<T>::hands_over(const Problem& problem) const {
  const std::size_t bytes = std::size_t{problem.settings().n_features} * problem.classes().n_classes * sizeof(T);
  return link_.size() == 1 && !problem.starts_from_weights() && bytes >= options_.hand_over_bytes;
}

template <class T>
void DsMlrSession<T>::collect(std::span<T> weights, std::span<T> intercept) {
  Control undisturbed;
  running().initialise(undisturbed);
  running().problem().collect_into(weights, intercept);
  running().engine().run(Problem::kCollect, 1, false, undisturbed);
}

template <class T>
ArrayMap DsMlrSession<T>::result() {
  const std::size_t k = problem_.classes().n_classes;
  ArrayMap fitted;
  fitted["intercept"] = Array::zeros<T>({k});
  const auto intercept = fitted["intercept"].template as<T>();
  if (!hands_over(problem_)) {
    fitted["weights"] = Array::zeros<T>({problem_.settings().n_features, k});
    collect(fitted["weights"].template as<T>(), intercept);
  } else {
    if (running_) {
      collect({}, intercept);
      intercept_.assign(intercept.begin(), intercept.end());
      rounds_before_ += running_->rounds_done();
      let_go();
      problem_.start_from_dual(intercept_);
    }
    std::ranges::copy(intercept_, intercept.begin());
    fitted["weights"] = Array::zeros<T>({problem_.settings().n_features, k});
    weights_from_duals(fitted["weights"].template as<T>());
  }
  centre(intercept);
  if (options_.keep_dual) add_duals(fitted);
  return fitted;
}

// Some classes at a time, whose weights then stay in the cache.
template <class T>
void DsMlrSession<T>::weights_from_duals(std::span<T> weights) const {
  const std::size_t k = problem_.classes().n_classes;
  Team team(options_.n_threads);
  team.parallel_for((k + kClassesAtOnce - 1) / kClassesAtOnce, 1,
                    [&](std::size_t begin, std::size_t end, std::uint32_t) {
                      for (std::size_t piece = begin; piece < end; ++piece) {
                        const std::size_t first = piece * kClassesAtOnce, n = std::min(kClassesAtOnce, k - first);
                        const MatrixView<T> part(weights.data() + first, problem_.settings().n_features, n, k);
                        for (const Shard& shard : shards_) add_weights_from_dual(shard, first, part);
                      }
                    });
}

// To the weights (n_features x some classes from `first` on) what they owe to that shard's rows.
template <class T>
void DsMlrSession<T>::add_weights_from_dual(const Shard& shard, std::size_t first, MatrixView<T> weights) const {
  const std::size_t k = problem_.classes().n_classes, n = weights.cols();
  std::vector<T> step(n);
  for (std::size_t i = 0; i < shard.x.rows(); ++i) {
    std::copy_n(shard.dual.data() + i * k + first, n, step.data());
    const std::size_t own = static_cast<std::size_t>(shard.labels[i]) - first;
    if (own < n) step[own] -= 1;
    const T scale = static_cast<T>(-double{shard.weight[i]} / problem_.settings().alpha);
    for (T& value : step) value *= scale;
    kernels::add_row_outer(shard.x.row(i), std::span<const T>(step), weights);
  }
}

// Of this rank's rows, in their order: shard s of n holds rows s, s + n, s + 2n, ...
template <class T>
void DsMlrSession<T>::add_duals(ArrayMap& fitted) const {
  const std::size_t k = problem_.classes().n_classes;
  std::size_t n_rows = 0;
  for (const Shard& shard : shards()) n_rows += shard.x.rows();
  fitted["dual"] = Array::zeros<T>({n_rows, k});
  T* dual = fitted["dual"].template as<T>().data();
  for (std::size_t s = 0; s < shards().size(); ++s) {
    const Shard& shard = shards()[s];
    for (std::size_t i = 0; i < shard.x.rows(); ++i) {
      std::copy_n(shard.dual.data() + i * k, k, dual + (s + i * shards().size()) * k);
    }
  }
}

template class DsMlrSession<float>;
template class DsMlrSession<double>;

}  // namespace steppe
