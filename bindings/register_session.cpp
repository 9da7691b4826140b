#include <pybind11/stl.h>

#include <string_view>

#include "bindings/arrays.hpp"
#include "bindings/control.hpp"
#include "bindings/registers.hpp"
#include "steppe/comm/local_link.hpp"
#include "steppe/comm/thread_link.hpp"
#include "steppe/models/fit_session.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

std::vector<py::bytes> allgather(Link& link, const py::bytes& mine) {
  const auto text = static_cast<std::string_view>(mine);
  const auto* first = reinterpret_cast<const std::byte*>(text.data());
  std::vector<Bytes> all;
  {
    const py::gil_scoped_release released;
    all = link.allgather(Bytes(first, first + text.size()));
  }
  std::vector<py::bytes> result;
  for (const Bytes& bytes : all) result.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return result;
}

std::vector<std::unique_ptr<Link>> thread_links(std::uint32_t size, double timeout) {
  return make_thread_links(size, timeout);
}

void register_links(py::module_& module) {
  py::classh<Link>(module, "Link", "One rank's way to the other ranks. Used by one thread.")
      .def_property_readonly("rank", &Link::rank)
      .def_property_readonly("size", &Link::size)
      .def_property_readonly("timeout", &Link::timeout, "Seconds of silence after which a waiting rank gives up.")
      .def("allgather", &allgather, py::arg("mine"), "Collective. The bytes of all ranks, in rank order.");
  py::classh<LocalLink, Link>(module, "LocalLink", "The only rank.").def(py::init<>());
  module.def("make_thread_links", &thread_links, py::arg("size"), py::arg("timeout") = 60.0,
             "Links of `size` ranks that are threads of this process, in rank order.");
}

// Every method runs without the GIL: it may wait for ranks that are threads of this process.
void register_fit_session(py::module_& module) {
  py::class_<Progress>(module, "Progress", "What a call of FitSession.advance did.")
      .def_readonly("updates", &Progress::updates)
      .def_readonly("loss", &Progress::loss)
      .def_readonly("stopped", &Progress::stopped);
  py::classh<FitSession>(module, "FitSession", "One fit in progress. All but restore are collective over the ranks.")
      .def(
          "advance",
          [](FitSession& self, std::uint32_t rounds, py::object callback) {
            PythonControl control(std::move(callback));
            return control.run([&] { return self.advance(rounds, control); });
          },
          py::arg("rounds"), py::arg("callback") = py::none(),
          "Train. Signals are handled and `callback` is called about every 20 ms; if it returns True, training stops.")
      .def(
          "objective",
          [](FitSession& self, py::object callback) {
            PythonControl control(std::move(callback));
            return control.run([&] { return self.objective(control); });
          },
          py::arg("callback") = py::none(), "The exact objective, equal on every rank.")
      .def_property_readonly("rounds_done", &FitSession::rounds_done)
      .def_property_readonly("converged", &FitSession::converged, "Whether a tolerance of the model's own is met.")
      .def(
          "state", [](const FitSession& self) { return to_dict(PythonControl().run([&] { return self.state(); })); },
          "All that a resume needs, this rank's part.")
      .def(
          "restore",
          [](FitSession& self, const py::dict& state) {
            const ArrayMap arrays = to_array_map(state);
            const py::gil_scoped_release released;
            self.restore(arrays);
          },
          py::arg("state"))
      .def(
          "result",
          [](FitSession& self) {
            PythonControl control;
            return to_dict(control.run([&] { return self.prepare_result(control) ? self.result() : ArrayMap(); }));
          },
          "The fitted parameters by name; none if the fit was stopped before there were any.");
}

}  // namespace

void register_session(py::module_& module) {
  register_links(module);
  register_fit_session(module);
  module.def("check_csr", &check_csr, py::arg("indptr"), py::arg("indices"), py::arg("n_values"), py::arg("n_columns"),
             py::arg("name"),
             "ValueError unless the arrays of a CSR matrix are in range, sorted and without duplicates.");
}

}  // namespace steppe::bindings
