#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <type_traits>

#include "steppe/core/array_map.hpp"
#include "steppe/core/views.hpp"

// NumPy arrays as views, and states and results as NumPy arrays. All of it needs the GIL; a binding makes its
// views, releases the GIL (other ranks may be threads of this process), and then calls native code.
namespace steppe::bindings {

// C-ordered ndarray of that dtype. Declare such arguments py::arg("x").noconvert(): another dtype is then an error of
// the Python layer, not a silent copy that dies with the call.
template <class T>
using NdArray = pybind11::array_t<T, pybind11::array::c_style>;

// Ends with InvalidArgument unless the CSR arrays may be walked blindly: offsets rise from 0 and stay inside,
// column numbers lie in range, fit into 32 bits and rise strictly in each row. `name` is the argument to
// blame.
void check_csr(const pybind11::array& offsets, const pybind11::array& indices, std::size_t n_values,
               std::size_t n_columns, const std::string& name);

// Views for reading. The array must outlive them: use py::keep_alive where a session keeps a view.
template <class T>
MatrixView<const T> matrix_view(const NdArray<T>& array) {
  if (array.ndim() != 2) throw InvalidArgument("a matrix was expected, met " + std::to_string(array.ndim()) + " axes");
  return {array.data(), static_cast<std::size_t>(array.shape(0)), static_cast<std::size_t>(array.shape(1))};
}
template <class T>
std::span<const T> vector_view(const NdArray<T>& array) {
  if (array.ndim() != 1) throw InvalidArgument("a vector was expected, met " + std::to_string(array.ndim()) + " axes");
  return {array.data(), static_cast<std::size_t>(array.size())};
}

// One value for each of `size` rows or pairs; `name` is the argument to blame.
template <class T>
std::span<const T> of_size(const NdArray<T>& values, std::size_t size, const char* name) {
  const auto view = vector_view<T>(values);
  if (view.size() != size) {
    throw InvalidArgument(std::string(name) + ": has " + std::to_string(view.size()) + " values, expected " +
                          std::to_string(size));
  }
  return view;
}

// f.operator()<T>() for the dtype of `array`, float or double.
template <class F>
auto by_dtype(const pybind11::array& array, const char* name, F&& f) {
  if (pybind11::isinstance<NdArray<float>>(array)) return f.template operator()<float>();
  if (pybind11::isinstance<NdArray<double>>(array)) return f.template operator()<double>();
  throw InvalidArgument(std::string(name) + ": must be C-ordered float32 or float64");
}

// The rows that Python's native_rows() made: a dense matrix or the tuple (indptr, indices, data, n_columns),
// checked. Owns references to the arrays, so it must outlive the views it hands out. Copying it copies
// references.
class Rows {
 public:
  explicit Rows(const pybind11::object& rows);

  bool sparse() const noexcept { return sparse_; }
  bool single() const { return pybind11::isinstance<NdArray<float>>(values_); }  // float32, else float64

  template <class T>
  MatrixView<const T> dense() const {
    return matrix_view<T>(pybind11::reinterpret_borrow<NdArray<T>>(values_));
  }
  template <class T>
  CsrView<T> csr() const {
    return {vector_view<std::int64_t>(offsets_), vector_view<std::int32_t>(indices_),
            vector_view<T>(pybind11::reinterpret_borrow<NdArray<T>>(values_)), n_columns_};
  }

  // f(view), where view is MatrixView<const float>, MatrixView<const double>, CsrView<float> or
  // CsrView<double>.
  template <class F>
  auto visit(F&& f) const {
    if (single()) return sparse_ ? f(csr<float>()) : f(dense<float>());
    return sparse_ ? f(csr<double>()) : f(dense<double>());
  }

 private:
  bool sparse_;
  pybind11::array values_;
  NdArray<std::int64_t> offsets_;
  NdArray<std::int32_t> indices_;
  std::size_t n_columns_ = 0;
};

// ndarrays that own the bytes of `arrays`, without a copy.
pybind11::dict to_dict(ArrayMap&& arrays);
ArrayMap to_array_map(const pybind11::dict& arrays);

}  // namespace steppe::bindings
