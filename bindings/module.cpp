#include "bindings/registers.hpp"

// _core: a table of contents. What a call means is said in the register_<family>.cpp of its family.
PYBIND11_MODULE(_core, module) {
  using namespace steppe::bindings;
  module.doc() = "Native code of steppe; use the estimators of the package instead.";
  register_errors(module);
  register_build_info(module);
  register_session(module);  // before the families: they return its FitSession
  register_datasets(module);
  register_recommend(module);
  register_linear_model(module);
  register_blas(module);
  register_metric(module);
  register_ranking(module);
  register_ot_sliced(module);
  register_device(module);
  register_ot(module);
  register_mixture(module);
  register_topics(module);
}
