#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings/arrays.hpp"
#include "bindings/registers.hpp"
#include "steppe/models/ranking/local_gmml.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;
using Numbers = NdArray<double>;
using Indices = NdArray<std::int64_t>;

template <class T>
MatrixView<const T> rows_of(const py::array& x) {
  return matrix_view<T>(py::reinterpret_borrow<NdArray<T>>(x));
}

void check_offsets(std::span<const std::int64_t> offsets, std::size_t n_rows) {
  bool rising = !offsets.empty() && offsets.front() == 0 && offsets.back() == static_cast<std::int64_t>(n_rows);
  for (std::size_t q = 0; rising && q + 1 < offsets.size(); ++q) rising = offsets[q] <= offsets[q + 1];
  require(rising, "offsets: must rise from 0 to the number of rows");
}

template <class Value>
py::array_t<Value> as_array(const std::vector<Value>& values) {
  return py::array_t<Value>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::array_t<std::int64_t> ranking_order(const py::array& x, const Indices& query, const Numbers& grade,
                                        const Numbers& weight) {
  return by_dtype(x, "X", [&]<class T>() {
    const MatrixView<const T> rows = rows_of<T>(x);
    const auto queries = of_size(query, rows.rows(), "query");
    const auto grades = of_size(grade, rows.rows(), "grade"), weights = of_size(weight, rows.rows(), "weight");
    std::vector<std::int64_t> order;
    {
      const py::gil_scoped_release released;
      order = canonical_order(rows, queries, grades, weights);
    }
    return as_array(order);
  });
}

template <class T>
const NdArray<T> checked(const py::handle& array) {
  require(py::isinstance<NdArray<T>>(array), "model: its arrays must be C-ordered and of the dtype of X");
  return py::reinterpret_borrow<NdArray<T>>(array);
}

// The start of a fit, or a fitted model: (anchors, list of components, weights). It must outlive the views.
template <class T>
LocalGmmlModel<T> model_of(const py::object& parts, std::size_t n_features) {
  if (parts.is_none()) return {};
  const auto arrays = parts.cast<py::tuple>();
  LocalGmmlModel<T> model{matrix_view<T>(checked<T>(arrays[0])), {}, vector_view<T>(checked<T>(arrays[2]))};
  const std::size_t m = model.weights.size();
  for (const py::handle array : arrays[1].cast<py::list>()) {
    model.components.push_back(matrix_view<T>(checked<T>(array)));
    require(model.components.back().rows() == n_features && model.components.back().cols() == n_features,
            "model: its components disagree with X");
  }
  require(m > 0 && model.anchors.rows() == m && model.anchors.cols() == n_features && model.components.size() == m,
          "model: its arrays disagree with each other or with X");
  return model;
}

std::unique_ptr<FitSession> local_gmml_session(const py::array& x, const Indices& order, const Numbers& grade,
                                               const Numbers& weight, const Indices& offsets, const Indices& number,
                                               const py::object& start, Link& link, std::uint32_t n_metrics,
                                               std::uint32_t sample_size, double rho, double reg, double t,
                                               bool distance_form, bool per_query, double validation_fraction,
                                               std::uint32_t patience, double tol, std::uint64_t seed,
                                               std::uint32_t n_threads) {
  return by_dtype(x, "X", [&]<class T>() {
    RankedQueries<T> queries;
    queries.x = rows_of<T>(x);
    const std::size_t n = queries.x.rows();
    queries.order = of_size(order, n, "order");
    for (const std::int64_t row : queries.order) {
      require(row >= 0 && static_cast<std::size_t>(row) < n, "order: a row is out of range");
    }
    queries.grade = of_size(grade, n, "grade");
    queries.weight = of_size(weight, n, "weight");
    queries.number = vector_view<std::int64_t>(number);
    queries.offsets = of_size(offsets, queries.number.size() + 1, "offsets");
    check_offsets(queries.offsets, n);
    const LocalGmmlModel<T> model = model_of<T>(start, queries.x.cols());
    LocalGmmlParams params;
    params.metrics = {n_metrics, sample_size, {t, reg}, seed};
    params.rho = rho;
    params.distance_form = distance_form;
    params.per_query = per_query;
    params.validation_fraction = validation_fraction;
    params.patience = patience;
    params.tol = tol;
    params.n_threads = n_threads;
    const py::gil_scoped_release released;
    return make_local_gmml_session<T>(params, queries, model, link);
  });
}

py::array scores_of(const py::array& x, const py::object& parts, double rho, bool distance_form,
                    std::uint32_t n_threads) {
  return by_dtype(x, "X", [&]<class T>() -> py::array {
    const MatrixView<const T> rows = rows_of<T>(x);
    const LocalGmmlModel<T> model = model_of<T>(parts, rows.cols());
    py::array_t<T> scores(static_cast<py::ssize_t>(rows.rows()));
    const std::span<T> out(scores.mutable_data(), rows.rows());
    const py::gil_scoped_release released;
    Team team(n_threads);
    local_gmml_scores(model, rho, distance_form, rows, out, team);
    return scores;
  });
}

py::array_t<double> ndcg(const Numbers& scores, const Numbers& gains, const Indices& offsets, std::size_t k,
                         std::uint32_t n_threads) {
  const auto score = vector_view<double>(scores);
  const auto gain = of_size(gains, score.size(), "gains");
  const auto starts = vector_view<std::int64_t>(offsets);
  check_offsets(starts, score.size());
  std::vector<double> result;
  {
    const py::gil_scoped_release released;
    Team team(n_threads);
    result = ndcg_by_query(score, gain, starts, k, team);
  }
  return as_array(result);
}

}  // namespace

void register_ranking(py::module_& module) {
  module.def("ranking_order", &ranking_order, py::arg("X"), py::arg("query").noconvert(), py::arg("grade").noconvert(),
             py::arg("weight").noconvert(),
             "Rows by query, grade, weight and contents: whatever order they came in, the same documents.");
  module.def("local_gmml_session", &local_gmml_session, py::arg("X"), py::arg("order").noconvert(),
             py::arg("grade").noconvert(), py::arg("weight").noconvert(), py::arg("offsets").noconvert(),
             py::arg("number").noconvert(), py::arg("start"), py::kw_only(), py::arg("link"), py::arg("n_metrics"),
             py::arg("sample_size"), py::arg("rho"), py::arg("reg"), py::arg("t"), py::arg("distance_form"),
             py::arg("per_query"), py::arg("validation_fraction"), py::arg("patience"), py::arg("tol"), py::arg("seed"),
             py::arg("n_threads"), py::keep_alive<0, 1>(), py::keep_alive<0, 2>(), py::keep_alive<0, 3>(),
             py::keep_alive<0, 4>(), py::keep_alive<0, 5>(), py::keep_alive<0, 6>(), py::keep_alive<0, 7>(),
             py::keep_alive<0, 8>(),
             "Collective. A fit of localized GMML to rank. Grades, weights and offsets are in the order `order`; "
             "`number` names the queries over all ranks, rising; `start` is a model or None.");
  module.def("local_gmml_scores", &scores_of, py::arg("X"), py::arg("model"), py::arg("rho"), py::arg("distance_form"),
             py::arg("n_threads"),
             "Scores of rows; the model is (anchors (m, D), list of m components (D, D), weights (m,)) of X's dtype.");
  module.def("ndcg", &ndcg, py::arg("scores").noconvert(), py::arg("gains").noconvert(), py::arg("offsets").noconvert(),
             py::arg("k"), py::arg("n_threads") = 1, "NDCG@k of each query, nan where all gains are 0.");
}

}  // namespace steppe::bindings
