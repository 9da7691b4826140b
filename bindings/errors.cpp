#include <exception>

#include "bindings/registers.hpp"
#include "steppe/core/errors.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

// steppe.ClusterError with the rank to look at (-1 where unknown) as its attribute `rank`.
void raise_cluster_error(const py::handle& type, const ClusterError& error) {
  const py::object value = type(error.what());
  value.attr("rank") = error.rank();
  PyErr_SetObject(type.ptr(), value.ptr());
}

}  // namespace

// InvalidArgument is a std::invalid_argument, which pybind11 already makes a ValueError.
void register_errors(py::module_& module) {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> type;
  type.call_once_and_store_result([&] {
    py::object made = py::exception<ClusterError>(module, "ClusterError", PyExc_RuntimeError);
    made.attr("__module__") = "steppe";
    made.attr("__doc__") = "A rank failed, died or stayed silent; `rank` names it, -1 if unknown.";
    made.attr("rank") = -1;
    return made;
  });
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const ClusterError& error) {
      raise_cluster_error(type.get_stored(), error);
    }
  });
}

}  // namespace steppe::bindings
