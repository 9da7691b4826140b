#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "steppe/comm/mpi_libraries.hpp"
#include "steppe/comm/mpi_link.hpp"

namespace py = pybind11;

// _mpi: an extension of its own, so that _core needs no MPI. It shares the MPI library that mpi4py has loaded.
PYBIND11_MODULE(_mpi, module) {
  py::module_::import("steppe._core");  // knows the types Link and ClusterError
  module.doc() = "The MPI link of steppe; use steppe.parallel.Cluster instead.";
  module.def(
      "make_link",
      [](std::uintptr_t communicator, double timeout) -> std::unique_ptr<steppe::Link> {
        steppe::MpiLinkOptions options;
        options.timeout_seconds = timeout;
        return steppe::make_mpi_link(communicator, options);
      },
      py::arg("communicator"), py::arg("timeout") = steppe::MpiLinkOptions{}.timeout_seconds,
      py::call_guard<py::gil_scoped_release>(),
      "A Link over a duplicate of the communicator whose handle is given (`comm.handle`). Collective over it.");
  module.def("library_version", &steppe::mpi_library_version, "What the MPI library says of itself.");
  module.def("loaded_libraries", &steppe::loaded_mpi_libraries, "Paths of the MPI libraries in this process.");
}
