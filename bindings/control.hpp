#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <utility>

#include "steppe/runtime/control.hpp"

namespace steppe::bindings {

// Python's side of a native call that may last: it runs without the GIL, and each poll takes the GIL for a
// moment to run signal handlers (Ctrl-C) and the caller's callback. What they raise ends the call and is
// raised from it. Lives on the stack of one call, in the thread that Python called.
class PythonControl final : public Control {
 public:
  explicit PythonControl(pybind11::object callback = pybind11::none()) : callback_(std::move(callback)) {}

  bool poll() override;

  // f() without the GIL. A Python exception met while it ran wins over what f threw: it is the cause.
  template <class F>
  auto run(F&& f) {
    try {
      auto result = [&] {
        const pybind11::gil_scoped_release released;
        return f();
      }();
      raise_pending();
      return result;
    } catch (const pybind11::error_already_set&) {
      throw;
    } catch (...) {
      raise_pending();
      throw;
    }
  }

 private:
  void raise_pending();

  pybind11::object callback_;
  std::optional<pybind11::error_already_set> error_;
};

}  // namespace steppe::bindings
