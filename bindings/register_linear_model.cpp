#include <pybind11/pybind11.h>

#include <numeric>
#include <utility>

#include "bindings/arrays.hpp"
#include "bindings/control.hpp"
#include "bindings/registers.hpp"
#include "steppe/models/linear_model/class_scores.hpp"
#include "steppe/models/linear_model/multinomial_logistic_fit.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

// A session together with the arrays that it reads. Destroyed by Python, so with the GIL.
class KeepingSession final : public FitSession {
 public:
  KeepingSession(std::unique_ptr<FitSession> inner, Rows rows, py::object arrays)
      : rows_(std::move(rows)), arrays_(std::move(arrays)), inner_(std::move(inner)) {}

  Progress advance(std::uint32_t rounds, Control& control) override { return inner_->advance(rounds, control); }
  double objective(Control& control) override { return inner_->objective(control); }
  std::uint32_t rounds_done() const override { return inner_->rounds_done(); }
  ArrayMap state() const override { return inner_->state(); }
  void restore(const ArrayMap& state) override { inner_->restore(state); }
  ArrayMap result() override { return inner_->result(); }

 private:
  Rows rows_;
  py::object arrays_;
  std::unique_ptr<FitSession> inner_;
};

// The values of an optional array of that many numbers.
template <class T>
std::span<const T> optional_values(const py::object& array, std::size_t size, const char* name) {
  if (array.is_none()) return {};
  if (!py::isinstance<NdArray<T>>(array)) {
    throw InvalidArgument(std::string(name) + ": must be C-ordered and of X's dtype");
  }
  const auto values = py::reinterpret_borrow<NdArray<T>>(array);
  if (static_cast<std::size_t>(values.size()) != size) {
    throw InvalidArgument(std::string(name) + ": has " + std::to_string(values.size()) + " values, expected " +
                          std::to_string(size));
  }
  return {values.data(), size};
}

void check_labels(std::span<const std::int32_t> labels, std::size_t n_rows, std::uint32_t n_classes) {
  require(labels.size() == n_rows, "y: its length differs from the number of rows of X");
  for (const std::int32_t label : labels) {
    require(label >= 0 && static_cast<std::uint32_t>(label) < n_classes, "y: a label is not among the classes");
  }
}

struct Start {
  py::object weights, intercept, dual;
};

template <class T, class View>
std::unique_ptr<FitSession> make_session(const MultinomialLogisticParams& params, View rows,
                                         const NdArray<std::int32_t>& labels, const py::object& weights,
                                         const Start& start, Link& link) {
  const std::size_t n = rows.rows(), k = params.n_classes;
  check_labels(vector_view<std::int32_t>(labels), n, params.n_classes);
  const MultinomialLogisticData<T, View> data{rows,
                                              vector_view<std::int32_t>(labels),
                                              optional_values<T>(weights, n, "sample_weight"),
                                              optional_values<T>(start.weights, rows.cols() * k, "start_weights"),
                                              optional_values<T>(start.intercept, k, "start_intercept"),
                                              optional_values<T>(start.dual, n * k, "start_dual")};
  const py::gil_scoped_release released;
  return make_multinomial_logistic_session(params, data, link);
}

std::unique_ptr<FitSession> multinomial_logistic_session(
    const py::object& X, const NdArray<std::int32_t>& labels, const py::object& weights, Link& link, double alpha,
    const std::string& solver, bool fit_intercept, double damping, std::uint32_t n_classes, const std::string& schedule,
    std::uint32_t n_threads, std::uint32_t n_shards, std::uint64_t seed, double total_weight, double prior_weight,
    std::uint32_t n_sweeps, bool keep_dual, py::object start_weights, py::object start_intercept,
    py::object start_dual) {
  const MultinomialLogisticParams params{.alpha = alpha,
                                         .solver = solver,
                                         .fit_intercept = fit_intercept,
                                         .damping = damping,
                                         .n_classes = n_classes,
                                         .schedule = schedule,
                                         .n_threads = n_threads,
                                         .n_shards = n_shards,
                                         .n_sweeps = n_sweeps,
                                         .seed = seed,
                                         .total_weight = total_weight,
                                         .prior_weight = prior_weight,
                                         .keep_dual = keep_dual};
  const Start start{std::move(start_weights), std::move(start_intercept), std::move(start_dual)};
  Rows rows(X);
  auto session = rows.visit([&]<class View>(View view) {
    using T = std::remove_cvref_t<decltype(view.row(0))>;
    if constexpr (requires { typename T::value_type; }) {
      return make_session<std::remove_const_t<typename T::element_type>>(params, view, labels, weights, start, link);
    } else {
      using Value = std::remove_const_t<typename decltype(T::values)::element_type>;
      return make_session<Value>(params, view, labels, weights, start, link);
    }
  });
  return std::make_unique<KeepingSession>(std::move(session), std::move(rows),
                                          py::make_tuple(labels, weights, start.weights, start.intercept, start.dual));
}

// f(rows as RowsView<T>, the classifier) for X and a model of its dtype. `columns` holds the numbers of dense columns.
template <class F>
auto with_model(const Rows& rows, const py::object& weights, const py::object& intercept, F&& f) {
  return rows.visit([&](auto view) {
    std::vector<std::int32_t> columns;
    const auto call = [&]<class T>(kernels::RowsView<T> x) {
      const auto c = vector_view<T>(intercept.cast<NdArray<T>>());
      return f(x, LinearClassifier<T>{optional_values<T>(weights, x.cols() * c.size(), "coef_"), c});
    };
    if constexpr (requires { view.nonzeros(); }) {
      return call(kernels::RowsView(view));
    } else {
      columns.resize(view.cols());
      std::iota(columns.begin(), columns.end(), 0);
      using T = std::remove_const_t<std::remove_reference_t<decltype(view(0, 0))>>;
      return call(kernels::RowsView<T>(view, columns));
    }
  });
}

py::object linear_scores(const py::object& X, const py::object& weights, const py::object& intercept,
                         std::uint32_t n_threads) {
  return with_model(Rows(X), weights, intercept,
                    [&]<class T>(kernels::RowsView<T> x, LinearClassifier<T> model) -> py::object {
                      py::array_t<T> scores({x.rows(), model.n_classes()});
                      const std::span<T> out(scores.mutable_data(), x.rows() * model.n_classes());
                      {
                        const py::gil_scoped_release released;
                        Team team(n_threads);
                        class_scores(x, model, out, team);
                      }
                      return scores;
                    });
}

py::object linear_topk(const py::object& X, const py::object& weights, const py::object& intercept, std::size_t k,
                       std::uint32_t n_threads) {
  return with_model(Rows(X), weights, intercept,
                    [&]<class T>(kernels::RowsView<T> x, LinearClassifier<T> model) -> py::object {
                      py::array_t<std::int32_t> labels({x.rows(), k});
                      py::array_t<T> scores({x.rows(), k});
                      const std::span<std::int32_t> out(labels.mutable_data(), x.rows() * k);
                      const std::span<T> best(scores.mutable_data(), x.rows() * k);
                      {
                        const py::gil_scoped_release released;
                        Team team(n_threads);
                        best_classes(x, model, k, out, best, team);
                      }
                      return py::make_tuple(labels, scores);
                    });
}

}  // namespace

void register_linear_model(py::module_& module) {
  module.def("multinomial_logistic_session", &multinomial_logistic_session, py::arg("X"), py::arg("labels"),
             py::arg("weights"), py::kw_only(), py::arg("link"), py::arg("alpha"), py::arg("solver"),
             py::arg("fit_intercept"), py::arg("damping"), py::arg("n_classes"), py::arg("schedule"),
             py::arg("n_threads"), py::arg("n_shards") = 0, py::arg("seed"), py::arg("total_weight"),
             py::arg("prior_weight") = 0.0, py::arg("n_sweeps") = 1, py::arg("keep_dual") = false,
             py::arg("start_weights") = py::none(), py::arg("start_intercept") = py::none(),
             py::arg("start_dual") = py::none(), py::keep_alive<0, 4>(),
             "Collective. A fit of multinomial logistic regression; weights are feature-major.");
  module.def("linear_scores", &linear_scores, py::arg("X"), py::arg("weights"), py::arg("intercept"),
             py::arg("n_threads"),
             "Scores (n, n_classes) of rows under feature-major weights (n_features, n_classes).");
  module.def("linear_topk", &linear_topk, py::arg("X"), py::arg("weights"), py::arg("intercept"), py::arg("k"),
             py::arg("n_threads"), "The k best classes of each row and their scores, best first, each (n, k).");
}

}  // namespace steppe::bindings
