#include <cstring>
#include <string>

#include "bindings/registers.hpp"
#include "steppe/core/blas.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

// The function that scipy's Cython module exports under that name.
template <class Function>
void take(Function& slot, const py::module_& from, const char* name) {
  const py::object capsule = from.attr("__pyx_capi__")[name];
  const char* const signature = PyCapsule_GetName(capsule.ptr());
  if (signature == nullptr || std::strstr(signature, "int *") == nullptr) {
    throw py::import_error(std::string("scipy's ") + name + " does not take 32-bit integers");
  }
  slot = reinterpret_cast<Function>(PyCapsule_GetPointer(capsule.ptr(), signature));
}

}  // namespace

void register_blas(py::module_&) {
  const auto blas = py::module_::import("scipy.linalg.cython_blas");
  const auto lapack = py::module_::import("scipy.linalg.cython_lapack");
  BlasTable table;
  take(table.single.gemm, blas, "sgemm");
  take(table.single.trsm, blas, "strsm");
  take(table.real.gemm, blas, "dgemm");
  take(table.real.trsm, blas, "dtrsm");
  take(table.lapack.potrf, lapack, "dpotrf");
  take(table.lapack.pstrf, lapack, "dpstrf");
  take(table.lapack.syevd, lapack, "dsyevd");
  set_blas(table);
}

}  // namespace steppe::bindings
