#include "bindings/arrays.hpp"

#include <limits>
#include <memory>
#include <utility>

namespace steppe::bindings {

namespace py = pybind11;

namespace {

std::string in_row(const std::string& name, std::size_t row) { return name + ": row " + std::to_string(row); }

template <class Offset>
void check_offsets(std::span<const Offset> offsets, std::size_t n_stored, const std::string& name) {
  const char* remedy = "; build the matrix again, for instance from its coo form";
  if (offsets.empty() || offsets.front() != 0)
    throw InvalidArgument(name + ": its indptr does not begin with 0" + remedy);
  for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
    if (offsets[row + 1] < offsets[row]) throw InvalidArgument(in_row(name, row) + " has a negative length" + remedy);
  }
  if (static_cast<std::size_t>(offsets.back()) > n_stored)
    throw InvalidArgument(name + ": its indptr points beyond the stored values" + remedy);
}

// Why row `row` may not be walked; asked once it is known that its column numbers do not rise strictly inside
// range.
template <class Index>
std::string complaint(std::span<const Index> columns, std::size_t n_columns, const std::string& place) {
  for (const Index column : columns) {
    if (column < 0 || static_cast<std::size_t>(column) >= n_columns) {
      return place + " holds column number " + std::to_string(column) + ", but there are " + std::to_string(n_columns) +
             " columns; number the columns from 0";
    }
  }
  for (std::size_t i = 1; i < columns.size(); ++i) {
    if (columns[i] == columns[i - 1]) {
      return place + " holds column " + std::to_string(columns[i]) +
             " twice; call sum_duplicates(), or drop the entry that does not count";
    }
  }
  return place + " has unsorted column numbers; call sort_indices() first";
}

template <class Offset, class Index>
void check_columns(std::span<const Offset> offsets, std::span<const Index> indices, std::size_t n_columns,
                   const std::string& name) {
  for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
    const auto first = static_cast<std::size_t>(offsets[row]), last = static_cast<std::size_t>(offsets[row + 1]);
    if (first == last) continue;
    const auto columns = indices.subspan(first, last - first);
    bool rising = columns.front() >= 0 && static_cast<std::size_t>(columns.back()) < n_columns;
    for (std::size_t i = 1; i < columns.size(); ++i) rising &= columns[i - 1] < columns[i];
    if (!rising) throw InvalidArgument(complaint(columns, n_columns, in_row(name, row)));
  }
}

// f(span) with the index array as spans of int32 or int64.
template <class F>
void with_indices(const py::array& array, F&& f) {
  if (py::isinstance<NdArray<std::int32_t>>(array)) {
    f(vector_view<std::int32_t>(py::reinterpret_borrow<NdArray<std::int32_t>>(array)));
  } else if (py::isinstance<NdArray<std::int64_t>>(array)) {
    f(vector_view<std::int64_t>(py::reinterpret_borrow<NdArray<std::int64_t>>(array)));
  } else {
    throw InvalidArgument("the indices of a sparse matrix must be contiguous arrays of int32 or int64");
  }
}

// The numpy dtype that a DType stands for.
py::dtype numpy_dtype(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return py::dtype::of<float>();
    case DType::float64:
      return py::dtype::of<double>();
    case DType::int32:
      return py::dtype::of<std::int32_t>();
    case DType::int64:
      return py::dtype::of<std::int64_t>();
    case DType::uint8:
      return py::dtype::of<std::uint8_t>();
    case DType::uint32:
      return py::dtype::of<std::uint32_t>();
    case DType::uint64:
      return py::dtype::of<std::uint64_t>();
  }
  throw InvariantViolation("an array has a dtype that NumPy does not know");
}

DType dtype_of_numpy(const py::array& array, const std::string& name) {
  for (const DType dtype :
       {DType::float32, DType::float64, DType::int32, DType::int64, DType::uint8, DType::uint32, DType::uint64}) {
    if (array.dtype().equal(numpy_dtype(dtype))) return dtype;
  }
  throw InvalidArgument("state: the array '" + name + "' has a dtype that no fit has");
}

}  // namespace

void check_csr(const py::array& offsets, const py::array& indices, std::size_t n_values, std::size_t n_columns,
               const std::string& name) {
  if (n_columns > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    throw InvalidArgument(name + ": has " + std::to_string(n_columns) +
                          " columns and column numbers must fit into 32 bits; renumber the columns that occur");
  }
  with_indices(offsets, [&](auto starts) {
    with_indices(indices, [&](auto columns) {
      check_offsets(starts, std::min(n_values, columns.size()), name);
      check_columns(starts, columns, n_columns, name);
    });
  });
}

Rows::Rows(const py::object& rows) : sparse_(py::isinstance<py::tuple>(rows)) {
  if (sparse_) {
    const auto parts = rows.cast<py::tuple>();
    values_ = parts[2].cast<py::array>();
    n_columns_ = parts[3].cast<std::size_t>();
    check_csr(parts[0].cast<py::array>(), parts[1].cast<py::array>(), static_cast<std::size_t>(values_.size()),
              n_columns_, "X");
    offsets_ = NdArray<std::int64_t>::ensure(parts[0]);  // converts 32-bit offsets
    indices_ = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>::ensure(parts[1]);  // just checked
  } else {
    values_ = rows.cast<py::array>();
  }
  const bool known = py::isinstance<NdArray<float>>(values_) || py::isinstance<NdArray<double>>(values_);
  if (!known) throw InvalidArgument("X: expected C-ordered values of float32 or float64");
}

py::dict to_dict(ArrayMap&& arrays) {
  py::dict result;
  for (auto& [name, array] : arrays) {
    auto owner = std::make_unique<std::vector<std::byte>>(std::move(array.data));
    void* data = owner->data();
    const py::capsule capsule(owner.release(), [](void* bytes) { delete static_cast<std::vector<std::byte>*>(bytes); });
    result[py::str(name)] = py::array(numpy_dtype(array.dtype), array.shape, data, capsule);
  }
  return result;
}

ArrayMap to_array_map(const py::dict& arrays) {
  ArrayMap result;
  for (const auto& [key, value] : arrays) {
    const auto name = key.cast<std::string>();
    const py::array array = py::array::ensure(value, py::array::c_style);
    if (!array) throw InvalidArgument("state: '" + name + "' is not an array");
    const auto* bytes = static_cast<const std::byte*>(array.data());
    result[name] = Array{
        dtype_of_numpy(array, name), {array.shape(), array.shape() + array.ndim()}, {bytes, bytes + array.nbytes()}};
  }
  return result;
}

}  // namespace steppe::bindings
