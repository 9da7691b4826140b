#include <pybind11/pybind11.h>

#include <algorithm>

#include "bindings/arrays.hpp"
#include "bindings/control.hpp"
#include "bindings/registers.hpp"
#include "steppe/models/ot/assignment.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

template <class T>
py::object assign_cells_of(const NdArray<T>& x, const NdArray<T>& sites, const NdArray<double>& potential, bool squared,
                           bool with_costs, std::uint32_t n_threads) {
  const auto rows = matrix_view(x), places = matrix_view(sites);
  const auto phi = vector_view(potential);
  py::array_t<std::int32_t> labels(static_cast<py::ssize_t>(rows.rows()));
  py::array_t<T> costs(static_cast<py::ssize_t>(with_costs ? rows.rows() : 0));
  const std::span<std::int32_t> cells(labels.mutable_data(), rows.rows());
  const std::span<T> values(costs.mutable_data(), with_costs ? rows.rows() : 0);
  PythonControl control;
  control.run([&] {
    Team team(n_threads);
    // Without potentials the nearest site is the same for both costs, and inner products find it faster.
    const bool flat = std::all_of(phi.begin(), phi.end(), [](double value) { return value == 0; });
    SitePack<T> pack(places, squared || flat);
    pack.set_potential(phi);
    const bool done = assign_cells(rows, pack, cells, team, control);
    if (done && with_costs) costs_of_cells<T>(rows, places, phi, squared, cells, values, team);
    return done;
  });
  return py::make_tuple(labels, costs);
}

py::object assign_cells_of_any(const py::array& x, const py::array& sites, const NdArray<double>& potential,
                               bool squared, bool with_costs, std::uint32_t n_threads) {
  if (py::isinstance<NdArray<float>>(x) && py::isinstance<NdArray<float>>(sites)) {
    return assign_cells_of<float>(py::reinterpret_borrow<NdArray<float>>(x),
                                  py::reinterpret_borrow<NdArray<float>>(sites), potential, squared, with_costs,
                                  n_threads);
  }
  if (py::isinstance<NdArray<double>>(x) && py::isinstance<NdArray<double>>(sites)) {
    return assign_cells_of<double>(py::reinterpret_borrow<NdArray<double>>(x),
                                   py::reinterpret_borrow<NdArray<double>>(sites), potential, squared, with_costs,
                                   n_threads);
  }
  throw InvalidArgument("X and sites: expected C-ordered values of one dtype, float32 or float64");
}

}  // namespace

void register_ot(py::module_& module) {
  module.def("assign_cells", &assign_cells_of_any, py::arg("X"), py::arg("sites"), py::arg("potential"), py::kw_only(),
             py::arg("squared"), py::arg("with_costs"), py::arg("n_threads"),
             "Labels (n,) of the cells of rows, and their costs (n,) less the potential if wanted; an empty potential is "
             "zero.");
}

}  // namespace steppe::bindings
