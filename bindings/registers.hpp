#pragma once

#include <pybind11/pybind11.h>

namespace steppe::bindings {

void register_errors(pybind11::module_& module);
void register_build_info(pybind11::module_& module);
<<<<<<< HEAD

// A family's file may be missing in a branch: a weak symbol is then null and is not called.
#define STEPPE_OPTIONAL __attribute__((weak))
STEPPE_OPTIONAL void register_session(pybind11::module_& module);
STEPPE_OPTIONAL void register_datasets(pybind11::module_& module);
STEPPE_OPTIONAL void register_recommend(pybind11::module_& module);
STEPPE_OPTIONAL void register_linear_model(pybind11::module_& module);
STEPPE_OPTIONAL void register_blas(pybind11::module_& module);
STEPPE_OPTIONAL void register_metric(pybind11::module_& module);
#undef STEPPE_OPTIONAL
=======
void register_session(pybind11::module_& module);
void register_datasets(pybind11::module_& module);
void register_recommend(pybind11::module_& module);
void register_linear_model(pybind11::module_& module);
>>>>>>> main

}  // namespace steppe::bindings
