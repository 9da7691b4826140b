#include "bindings/registers.hpp"
#include "steppe/core/macros.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

// The clone of every STEPPE_MULTIVERSION function that the loader chooses on this machine.
const char* dispatch_level() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3";
#endif
  return "baseline";
}

}  // namespace

void register_build_info(py::module_& module) {
  module.attr("__version__") = STEPPE_VERSION;
  module.def(
      "build_info",
      [] {
        py::dict info;
        info["version"] = STEPPE_VERSION;
        info["compiler"] = STEPPE_COMPILER;
        info["flags"] = STEPPE_FLAGS;
        info["sanitizers"] = STEPPE_SANITIZERS;
        info["dispatch"] = dispatch_level();
        return info;
      },
      "How this module was compiled, and the instruction set its kernels use on this machine.");
}

}  // namespace steppe::bindings
