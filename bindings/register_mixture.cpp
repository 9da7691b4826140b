#include <pybind11/pybind11.h>

#include <utility>

#include "bindings/arrays.hpp"
#include "bindings/control.hpp"
#include "bindings/registers.hpp"
#include "steppe/models/mixture/mixture_fit.hpp"
#include "steppe/models/mixture/mixture_query.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

// A session together with the arrays that it reads. Destroyed by Python, so with the GIL.
class KeepingMixture final : public FitSession {
 public:
  KeepingMixture(std::unique_ptr<FitSession> inner, py::object arrays)
      : arrays_(std::move(arrays)), inner_(std::move(inner)) {}

  Progress advance(std::uint32_t rounds, Control& control) override { return inner_->advance(rounds, control); }
  double objective(Control& control) override { return inner_->objective(control); }
  std::uint32_t rounds_done() const override { return inner_->rounds_done(); }
  ArrayMap state() const override { return inner_->state(); }
  void restore(const ArrayMap& state) override { inner_->restore(state); }
  ArrayMap result() override { return inner_->result(); }

 private:
  py::object arrays_;
  std::unique_ptr<FitSession> inner_;
};

template <class T>
std::span<const T> values_of(const py::object& array, std::size_t size, const char* name) {
  if (array.is_none()) return {};
  if (!py::isinstance<NdArray<T>>(array)) throw InvalidArgument(std::string(name) + ": is of another dtype");
  const auto values = py::reinterpret_borrow<NdArray<T>>(array);
  if (static_cast<std::size_t>(values.size()) != size) {
    throw InvalidArgument(std::string(name) + ": has " + std::to_string(values.size()) + " values, expected " +
                          std::to_string(size));
  }
  return {values.data(), size};
}

struct MixtureArrays {
  py::object weights, labels, centre, mean_prior, covariance_prior, start;
};

void check_labels(std::span<const std::int32_t> labels, std::uint32_t n_components) {
  for (const std::int32_t label : labels) {
    require(label >= 0 && static_cast<std::uint32_t>(label) < n_components, "labels: one is not among the components");
  }
}

template <class T>
std::unique_ptr<FitSession> session_of(const MixtureParams& params, const NdArray<T>& x, const MixtureArrays& arrays,
                                       bool keep, Link& link) {
  const auto rows = matrix_view(x);
  const std::size_t n = rows.rows(), d = rows.cols();
  const auto start =
      values_of<double>(arrays.start, params.n_components * kernels::moment_size(d, params.full), "start");
  MixtureData<T> data{.rows = {rows, values_of<T>(arrays.weights, n, "sample_weight"),
                               values_of<std::int32_t>(arrays.labels, n, "labels")},
                      .centre = values_of<T>(arrays.centre, d, "centre"),
                      .mean_prior = values_of<double>(arrays.mean_prior, d, "mean_prior"),
                      .scale = values_of<double>(arrays.covariance_prior, params.full ? d * d : d, "covariance_prior"),
                      .start = {{start.begin(), start.end()}, keep}};
  require(start.empty() != arrays.labels.is_none(), "labels or start: give one of both");
  check_labels(data.rows.labels, params.n_components);
  const py::gil_scoped_release released;
  return make_mixture_session(params, std::move(data), link);
}

std::unique_ptr<FitSession> mixture_session(const py::array& x, py::object weights, Link& link, py::object labels,
                                            py::object start, bool keep, py::object centre, py::object mean_prior,
                                            py::object covariance_prior, std::uint32_t n_components, bool full,
                                            double concentration, double mean_precision, double dof, double blur,
                                            const std::string& schedule, std::uint32_t n_threads,
                                            std::uint32_t n_shards, std::uint64_t seed, double total_weight,
                                            std::uint64_t batch_rows, double learning_decay, double learning_offset) {
  const MixtureParams params{.n_components = n_components,
                             .full = full,
                             .concentration = concentration,
                             .mean_precision = mean_precision,
                             .dof = dof,
                             .blur = blur,
                             .schedule = schedule,
                             .n_threads = n_threads,
                             .n_shards = n_shards,
                             .seed = seed,
                             .total_weight = total_weight,
                             .batch_rows = batch_rows,
                             .learning_decay = learning_decay,
                             .learning_offset = learning_offset};
  const MixtureArrays arrays{std::move(weights),    std::move(labels),           std::move(centre),
                             std::move(mean_prior), std::move(covariance_prior), std::move(start)};
  const bool single = py::isinstance<NdArray<float>>(x);
  require(single || py::isinstance<NdArray<double>>(x), "X: expected C-ordered float32 or float64");
  auto session = single ? session_of<float>(params, py::reinterpret_borrow<NdArray<float>>(x), arrays, keep, link)
                        : session_of<double>(params, py::reinterpret_borrow<NdArray<double>>(x), arrays, keep, link);
  return std::make_unique<KeepingMixture>(std::move(session), py::make_tuple(x, arrays.weights, arrays.labels));
}

template <class T>
py::object answers_of(const NdArray<T>& x, const MixtureModel& model, const std::string& what,
                      std::uint32_t n_threads) {
  const auto rows = matrix_view(x);
  require(rows.cols() == model.means.cols(), "X: has another number of columns than the components");
  const auto n = static_cast<py::ssize_t>(rows.rows()), k = static_cast<py::ssize_t>(model.means.rows());
  MixtureAnswers<T> answers;
  py::array result;
  if (what == "labels") {
    py::array_t<std::int32_t> labels(n);
    answers.labels = {labels.mutable_data(), rows.rows()};
    result = labels;
  } else if (what == "probabilities") {
    py::array_t<T> probabilities({n, k});
    answers.probabilities = {probabilities.mutable_data(), rows.rows(), model.means.rows()};
    result = probabilities;
  } else {
    require(what == "log_sums", "what: is none of 'labels', 'probabilities' and 'log_sums'");
    py::array_t<T> log_sums(n);
    answers.log_sums = {log_sums.mutable_data(), rows.rows()};
    result = log_sums;
  }
  PythonControl control;
  control.run([&] {
    Team team(n_threads);
    return ask_mixture(rows, model, answers, team, control);
  });
  return result;
}

py::object mixture_answers(const py::array& x, const NdArray<double>& constants, const NdArray<double>& means,
                           const NdArray<double>& factors, const std::string& what, std::uint32_t n_threads) {
  const auto components = matrix_view(means);
  const std::size_t k = components.rows(), d = components.cols();
  const bool full = factors.ndim() == 3;
  require(static_cast<std::size_t>(constants.size()) == k &&
              static_cast<std::size_t>(factors.size()) == k * d * (full ? d : 1),
          "the components' parts differ in size");
  const MixtureModel model{
      full, vector_view(constants), components, {factors.data(), static_cast<std::size_t>(factors.size())}};
  if (py::isinstance<NdArray<float>>(x)) {
    return answers_of<float>(py::reinterpret_borrow<NdArray<float>>(x), model, what, n_threads);
  }
  require(py::isinstance<NdArray<double>>(x), "X: expected C-ordered float32 or float64");
  return answers_of<double>(py::reinterpret_borrow<NdArray<double>>(x), model, what, n_threads);
}

}  // namespace

void register_mixture(py::module_& module) {
  module.def("mixture_session", &mixture_session, py::arg("X"), py::arg("weights"), py::kw_only(), py::arg("link"),
             py::arg("labels"), py::arg("start"), py::arg("keep"), py::arg("centre"), py::arg("mean_prior"),
             py::arg("covariance_prior"), py::arg("n_components"), py::arg("full"), py::arg("concentration"),
             py::arg("mean_precision"), py::arg("dof"), py::arg("blur"), py::arg("schedule"), py::arg("n_threads"),
             py::arg("n_shards") = 0, py::arg("seed"), py::arg("total_weight"), py::arg("batch_rows") = 1024,
             py::arg("learning_decay") = 0.7, py::arg("learning_offset") = 10.0, py::keep_alive<0, 3>(),
             "Collective. A fit of a variational Gaussian mixture, from labels (n,) or from statistics.");
  module.def("mixture_answers", &mixture_answers, py::arg("X"), py::arg("constants"), py::arg("means"),
             py::arg("factors"), py::arg("what"), py::arg("n_threads"),
             "'labels', 'probabilities' or 'log_sums' of rows under scores constant - |factor (x - mean)|^2.");
}

}  // namespace steppe::bindings
