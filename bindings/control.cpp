#include "bindings/control.hpp"

namespace steppe::bindings {

namespace py = pybind11;

bool PythonControl::poll() {
  if (error_) return true;
  const py::gil_scoped_acquire gil;
  try {
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    return !callback_.is_none() && callback_().cast<bool>();
  } catch (py::error_already_set& error) {
    error_.emplace(error);
    return true;
  }
}

void PythonControl::raise_pending() {
  if (error_) throw *std::exchange(error_, std::nullopt);
}

}  // namespace steppe::bindings
