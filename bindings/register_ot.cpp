#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <utility>

#include "bindings/arrays.hpp"
#include "bindings/control.hpp"
#include "bindings/registers.hpp"
#include "steppe/models/ot/assignment.hpp"
#include "steppe/models/ot/semi_discrete_session.hpp"

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

// A session together with the arrays that it reads. Destroyed by Python, so with the GIL.
class KeepingTransport final : public FitSession {
 public:
  KeepingTransport(std::unique_ptr<FitSession> inner, py::object arrays)
      : arrays_(std::move(arrays)), inner_(std::move(inner)) {}

  Progress advance(std::uint32_t rounds, Control& control) override { return inner_->advance(rounds, control); }
  double objective(Control& control) override { return inner_->objective(control); }
  std::uint32_t rounds_done() const override { return inner_->rounds_done(); }
  bool converged() const override { return inner_->converged(); }
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
  if (!py::isinstance<NdArray<T>>(array)) throw InvalidArgument(std::string(name) + ": is of another dtype than X");
  const auto values = py::reinterpret_borrow<NdArray<T>>(array);
  if (static_cast<std::size_t>(values.size()) != size) {
    throw InvalidArgument(std::string(name) + ": has " + std::to_string(values.size()) + " values, expected " +
                          std::to_string(size));
  }
  return {values.data(), size};
}

struct TransportArrays {
  py::object weights, site_weights, start;
};

// Rows are sorted by measure; measure k ends before row ends[k].
template <class T>
std::unique_ptr<FitSession> semi_discrete_of(const SemiDiscreteParams& params, const NdArray<T>& x,
                                             const NdArray<T>& sites, const TransportArrays& arrays,
                                             const std::vector<std::size_t>& ends,
                                             const std::vector<double>& measure_weights, double start_reg, Link& link) {
  const auto rows = matrix_view(x), places = matrix_view(sites);
  const auto weights = values_of<T>(arrays.weights, rows.rows(), "sample_weight");
  SemiDiscreteData<T> data{.measures = {},
                           .measure_weights = measure_weights,
                           .sites = places,
                           .site_weights = values_of<double>(arrays.site_weights, places.rows(), "site_weights"),
                           .start = values_of<double>(arrays.start, ends.size() * places.rows(), "start"),
                           .start_reg = start_reg};
  std::size_t first = 0;
  for (const std::size_t end : ends) {
    require(first <= end && end <= rows.rows(), "ends: must rise to the number of rows");
    data.measures.push_back({MatrixView<const T>(rows.data() + first * rows.cols(), end - first, rows.cols()),
                             weights.empty() ? weights : weights.subspan(first, end - first)});
    first = end;
  }
  require(rows.cols() == places.cols(), "sites: have another number of columns than X");
  require(!ends.empty() && measure_weights.size() == ends.size(), "measure_weights: one for each measure");
  const py::gil_scoped_release released;
  return make_semi_discrete_session(params, data, link);
}

std::unique_ptr<FitSession> semi_discrete_session(const py::array& x, py::object weights, const py::array& sites,
                                                  Link& link, const std::vector<std::size_t>& ends,
                                                  const std::vector<double>& measure_weights, py::object site_weights,
                                                  py::object start, double start_reg, bool squared, double reg,
                                                  double tol, std::uint64_t batch_rows, std::uint32_t n_threads,
                                                  bool on_device) {
  const SemiDiscreteParams params{.squared = squared,
                                  .reg = reg,
                                  .tol = tol,
                                  .batch_rows = batch_rows,
                                  .n_threads = n_threads,
                                  .on_device = on_device};
  const TransportArrays arrays{std::move(weights), std::move(site_weights), std::move(start)};
  const auto make = [&]<class T>(T) {
    require(py::isinstance<NdArray<T>>(sites), "sites: are of another dtype than X");
    return semi_discrete_of<T>(params, py::reinterpret_borrow<NdArray<T>>(x), py::reinterpret_borrow<NdArray<T>>(sites),
                               arrays, ends, measure_weights, start_reg, link);
  };
  auto session = py::isinstance<NdArray<float>>(x) ? make(float{}) : make(double{});
  return std::make_unique<KeepingTransport>(
      std::move(session), py::make_tuple(x, arrays.weights, sites, arrays.site_weights, arrays.start));
}

}  // namespace

void register_ot(py::module_& module) {
  module.def(
      "assign_cells", &assign_cells_of_any, py::arg("X"), py::arg("sites"), py::arg("potential"), py::kw_only(),
      py::arg("squared"), py::arg("with_costs"), py::arg("n_threads"),
      "Labels (n,) of the cells of rows, and their costs (n,) less the potential if wanted; an empty potential is "
      "zero.");
  module.def("semi_discrete_session", &semi_discrete_session, py::arg("X"), py::arg("weights"), py::arg("sites"),
             py::kw_only(), py::arg("link"), py::arg("ends"), py::arg("measure_weights"), py::arg("site_weights"),
             py::arg("start"), py::arg("start_reg"), py::arg("squared"), py::arg("reg"), py::arg("tol"),
             py::arg("batch_rows"), py::arg("n_threads"), py::arg("on_device"), py::keep_alive<0, 4>(),
             "Collective. A fit of semi-discrete transport; the rows of measure k end before row ends[k].");
}

}  // namespace steppe::bindings
