#pragma once

#include <pybind11/pybind11.h>

namespace steppe::bindings {

void register_errors(pybind11::module_& module);
void register_build_info(pybind11::module_& module);
void register_session(pybind11::module_& module);
void register_datasets(pybind11::module_& module);
void register_recommend(pybind11::module_& module);
void register_linear_model(pybind11::module_& module);
void register_blas(pybind11::module_& module);
void register_metric(pybind11::module_& module);
void register_ranking(pybind11::module_& module);
void register_ot_sliced(pybind11::module_& module);
void register_device(pybind11::module_& module);
void register_ot(pybind11::module_& module);
void register_mixture(pybind11::module_& module);
void register_topics(pybind11::module_& module);

}  // namespace steppe::bindings
