#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.hpp"
#include "bindings/control.hpp"
#include "bindings/registers.hpp"
#include "steppe/core/blas.hpp"
#include "steppe/models/metric/gmml.hpp"
#include "steppe/models/metric/itml_session.hpp"
#include "steppe/models/metric/polling.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;
using Numbers = NdArray<double>;
using Indices = NdArray<std::int64_t>;

template <class T>
PointPairs<T> point_pairs(const py::array& points, const Indices& pairs) {
  PointPairs<T> data{matrix_view<T>(py::reinterpret_borrow<NdArray<T>>(points)), matrix_view<std::int64_t>(pairs), {}};
  require(data.pairs.cols() == 2, "pairs: must have two columns");
  const auto n = static_cast<std::int64_t>(data.points.rows());
  for (std::size_t k = 0; k < data.n_pairs(); ++k) {
    for (const std::int64_t row : data.pairs.row(k)) require(row >= 0 && row < n, "pairs: a row is out of range");
  }
  return data;
}

// The array itself: what a cast converts would be gone before the session reads it.
Numbers as_passed(const py::object& array, const char* name) {
  if (!py::isinstance<Numbers>(array)) throw InvalidArgument(std::string(name) + ": must be C-ordered float64");
  return py::reinterpret_borrow<Numbers>(array);
}

MatrixView<const double> square(const py::object& matrix, std::size_t d) {
  if (matrix.is_none()) return {};
  const auto view = matrix_view<double>(as_passed(matrix, "prior"));
  require(view.rows() == d && view.cols() == d, "prior: must be a matrix of features by features");
  return view;
}

std::unique_ptr<FitSession> itml_session(const py::array& points, const Indices& pairs, const Numbers& sign,
                                         const Numbers& target, const py::object& start_dual, const py::object& prior,
                                         Link& link, double gamma, bool in_parallel, const std::string& form,
                                         std::size_t block, std::uint32_t n_threads) {
  return by_dtype(points, "points", [&]<class T>() {
    ItmlData<T> data{point_pairs<T>(points, pairs), {}, {}, {}};
    const std::size_t c = data.points.n_pairs();
    data.points.prior = square(prior, data.points.n_features());
    data.sign = of_size(sign, c, "sign");
    data.target = of_size(target, c, "target");
    if (!start_dual.is_none()) data.start_dual = of_size(as_passed(start_dual, "start_dual"), c, "start_dual");
    const py::gil_scoped_release released;
    return make_itml_session<T>({gamma, in_parallel, form, block, n_threads}, data, link);
  });
}

std::unique_ptr<FitSession> gmml_session(const py::array& points, const Indices& pairs, const Numbers& sign,
                                         const py::object& prior, const py::object& prior_inverse, Link& link, double t,
                                         double reg, std::uint32_t n_threads) {
  return by_dtype(points, "points", [&]<class T>() {
    GmmlData<T> data{point_pairs<T>(points, pairs), {}, {}, {}};
    data.sign = of_size(sign, data.points.n_pairs(), "sign");
    data.prior = square(prior, data.points.n_features());
    data.prior_inverse = square(prior_inverse, data.points.n_features());
    const py::gil_scoped_release released;
    return make_gmml_session<T>({t, reg, n_threads}, data, link);
  });
}

py::array_t<double> pair_squared_distances(const py::array& points, const Indices& pairs, std::uint32_t n_threads) {
  return by_dtype(points, "points", [&]<class T>() {
    const PointPairs<T> data = point_pairs<T>(points, pairs);
    py::array_t<double> distances(static_cast<py::ssize_t>(data.n_pairs()));
    const std::span<double> out(distances.mutable_data(), data.n_pairs());
    PythonControl control;
    control.run([&] {
      Team team(n_threads);
      Pacer pacer(control);
      try {
        squared_distances(data, out, team, &pacer);
      } catch (const Stopped&) {  // by the signal that the control raises again
      }
      return true;
    });
    return distances;
  });
}

const char* itml_form(std::size_t n_points, std::size_t n_pairs, std::size_t n_features) {
  switch (choose_itml_form(n_points, n_pairs, n_features)) {
    case ItmlForm::dense:
      return "dense";
    case ItmlForm::span:
      return "span";
    case ItmlForm::products:
      break;
  }
  return "products";
}

}  // namespace

void register_metric(py::module_& module) {
  module.def("itml_session", &itml_session, py::arg("points"), py::arg("pairs").noconvert(),
             py::arg("sign").noconvert(), py::arg("target").noconvert(), py::kw_only(),
             py::arg("start_dual") = py::none(), py::arg("prior") = py::none(), py::arg("link"), py::arg("gamma"),
             py::arg("in_parallel") = false, py::arg("form") = "auto", py::arg("block") = 0, py::arg("n_threads") = 1,
             py::keep_alive<0, 1>(), py::keep_alive<0, 2>(), py::keep_alive<0, 3>(), py::keep_alive<0, 4>(),
             py::keep_alive<0, 5>(), py::keep_alive<0, 6>(), py::keep_alive<0, 7>(),
             "Collective; the arrays are the same on every rank. A fit of ITML; `prior` is the factor L of A0 = L L'.");
  module.def("gmml_session", &gmml_session, py::arg("points"), py::arg("pairs").noconvert(),
             py::arg("sign").noconvert(), py::kw_only(), py::arg("prior") = py::none(),
             py::arg("prior_inverse") = py::none(), py::arg("link"), py::arg("t"), py::arg("reg"),
             py::arg("n_threads") = 1, py::keep_alive<0, 1>(), py::keep_alive<0, 2>(), py::keep_alive<0, 3>(),
             py::keep_alive<0, 4>(), py::keep_alive<0, 5>(), py::keep_alive<0, 6>(),
             "Collective; the arrays are the same on every rank. A fit of GMML.");
  module.def("pair_squared_distances", &pair_squared_distances, py::arg("points"), py::arg("pairs").noconvert(),
             py::arg("n_threads") = 1, "Squared Euclidean distances of pairs of rows, in double precision.");
  module.def("itml_form", &itml_form, py::arg("n_points"), py::arg("n_pairs"), py::arg("n_features"),
             "The form of the computation that takes the fewest operations: 'dense', 'span' or 'products'.");
}

}  // namespace steppe::bindings
