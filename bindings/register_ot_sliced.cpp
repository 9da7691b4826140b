#include <pybind11/pybind11.h>

#include "bindings/arrays.hpp"
#include "bindings/control.hpp"
#include "bindings/registers.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/kernels/sorted_projection.hpp"
#include "steppe/models/ot/sliced_wasserstein.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

std::span<const double> optional_weights(const py::object& weights) {
  if (weights.is_none()) return {};
  return vector_view<double>(py::reinterpret_borrow<NdArray<double>>(weights));
}

template <class T>
MatrixView<T> writable(py::array_t<T>& array) {
  return {array.mutable_data(), static_cast<std::size_t>(array.shape(0)), static_cast<std::size_t>(array.shape(1))};
}

// f(float{}) or f(double{}), the type of the array's values.
template <class F>
auto with_dtype(const py::array& array, F&& f) {
  if (py::isinstance<NdArray<float>>(array)) return f(float{});
  if (py::isinstance<NdArray<double>>(array)) return f(double{});
  throw InvalidArgument("X: expected C-ordered values of float32 or float64");
}

template <class T>
MatrixView<const T> view_of(const py::array& array, const char* name) {
  if (!py::isinstance<NdArray<T>>(array))
    throw InvalidArgument(std::string(name) + ": must be C-ordered, of X's dtype");
  return matrix_view<T>(py::reinterpret_borrow<NdArray<T>>(array));
}

// f(team, control) without the GIL.
template <class F>
void run_on_team(std::uint32_t n_threads, F&& f) {
  PythonControl control;
  control.run([&] {
    Team team(n_threads);
    f(team, control);
    return true;
  });
}

py::array_t<double> sliced_distances(const py::array& X, const py::array& Y, const py::object& x_weights,
                                     const py::object& y_weights, const py::array& directions, double p,
                                     std::size_t block_columns, std::uint32_t n_threads, Link& link) {
  return with_dtype(X, [&]<class T>(T) {
    const SlicedSample<T> x{view_of<T>(X, "X"), optional_weights(x_weights)};
    const SlicedSample<T> y{view_of<T>(Y, "Y"), optional_weights(y_weights)};
    const auto columns = view_of<T>(directions, "projections");
    require(columns.rows() == x.rows.cols() && columns.rows() == y.rows.cols(), "X, Y, projections: D differs");
    py::array_t<double> distances(static_cast<py::ssize_t>(columns.cols()));
    const std::span<double> out(distances.mutable_data(), columns.cols());
    run_on_team(n_threads, [&](Team& team, Control& control) {
      steppe::sliced_distances(x, y, columns, {.p = p, .block_columns = block_columns}, team, link, control, out);
    });
    return distances;
  });
}

py::array sorted_targets(const py::array& X, const py::array& Y, std::uint32_t n_threads, Link& link) {
  return with_dtype(X, [&]<class T>(T) -> py::array {
    const auto x = view_of<T>(X, "X_proj"), y = view_of<T>(Y, "Y_proj");
    require(x.cols() == y.cols(), "X_proj, Y_proj: the numbers of columns differ");
    py::array_t<T> targets({x.rows(), x.cols()});
    const auto out = writable(targets);
    run_on_team(n_threads,
                [&](Team& team, Control& control) { steppe::sorted_targets(x, y, team, link, control, out); });
    return targets;
  });
}

py::array random_directions(std::size_t n_features, std::size_t n_projections, std::uint64_t seed, bool single,
                            std::uint32_t n_threads) {
  const auto make = [&]<class T>(T) -> py::array {
    py::array_t<T> directions({n_features, n_projections});
    const auto out = writable(directions);
    run_on_team(n_threads, [&](Team& team, Control&) { steppe::random_directions(seed, team, out); });
    return directions;
  };
  return single ? make(float{}) : make(double{});
}

py::array pair_directions(const py::array& X, const py::array& Y, std::size_t n_projections, std::uint64_t seed,
                          std::uint32_t n_threads) {
  return with_dtype(X, [&]<class T>(T) -> py::array {
    const auto x = view_of<T>(X, "X"), y = view_of<T>(Y, "Y");
    require(x.cols() == y.cols(), "X, Y: the numbers of columns differ");
    py::array_t<T> directions({x.cols(), n_projections});
    const auto out = writable(directions);
    run_on_team(n_threads, [&](Team& team, Control&) { steppe::pair_directions(x, y, seed, team, out); });
    return directions;
  });
}

}  // namespace

void register_ot_sliced(py::module_& module) {
  module.def("sliced_distances", &sliced_distances, py::arg("X"), py::arg("Y"), py::arg("x_weights"),
             py::arg("y_weights"), py::arg("directions"), py::kw_only(), py::arg("p"), py::arg("block_columns") = 0,
             py::arg("n_threads"), py::arg("link"),
             "Collective. The p-Wasserstein distance of the projections on each column of directions (D, n). BLAS is "
             "called from every thread.");
  module.def(
      "power_mean",
      [](const NdArray<double>& distances, double p) { return kernels::power_mean(vector_view<double>(distances), p); },
      py::arg("distances"), py::arg("p"), "(mean of d^p)^(1/p).");
  module.def("sorted_targets", &sorted_targets, py::arg("X"), py::arg("Y"), py::kw_only(), py::arg("n_threads"),
             py::arg("link"), "Collective. For each column the value of Y matched to each value of X by rank.");
  module.def("random_directions", &random_directions, py::arg("n_features"), py::arg("n_projections"), py::kw_only(),
             py::arg("seed"), py::arg("single"), py::arg("n_threads"),
             "Columns (n_features, n) uniform on the sphere.");
  module.def("pair_directions", &pair_directions, py::arg("X"), py::arg("Y"), py::arg("n_projections"), py::kw_only(),
             py::arg("seed"), py::arg("n_threads"),
             "Columns (D, n): differences of random rows of X and Y, normalised.");
}

}  // namespace steppe::bindings
