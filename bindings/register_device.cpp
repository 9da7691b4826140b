#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/dlpack.hpp"
#include "bindings/registers.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/runtime/device.hpp"

namespace steppe::bindings {
namespace {

namespace py = pybind11;

using Extents = std::vector<std::int64_t>;

std::string typestr(const dlpack::DataType& type) {
  require(type.lanes == 1 && type.code <= dlpack::kFloat, "array: has elements that are neither integers nor floats");
  return std::string("<") + "iuf"[type.code] + std::to_string(type.bits / 8);
}

dlpack::DataType data_type(const std::string& typestr) {
  require(typestr.size() == 3 && typestr[0] == '<', "array: is not of native numbers");
  const auto bits = static_cast<std::uint8_t>(8 * (typestr[2] - '0'));
  return {typestr[1] == 'f' ? dlpack::kFloat : typestr[1] == 'u' ? dlpack::kUInt : dlpack::kInt, bits, 1};
}

// What a capsule "dltensor" holds; the capsule keeps owning it, so it must outlive the use.
py::tuple dlpack_contents(const py::capsule& capsule) {
  const auto* const managed =
      static_cast<const dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kUnused));
  if (managed == nullptr) throw py::error_already_set();
  const dlpack::Tensor& tensor = managed->tensor;
  Extents shape(tensor.shape, tensor.shape + tensor.ndim), strides(shape.size(), 1);
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    if (tensor.strides != nullptr) {
      strides[axis] = tensor.strides[axis];
    } else if (axis + 1 < shape.size()) {
      strides[axis] = strides[axis + 1] * shape[axis + 1];
    }
  }
  return py::make_tuple(reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset, py::tuple(py::cast(shape)),
                        py::tuple(py::cast(strides)), typestr(tensor.dtype), tensor.device.type, tensor.device.id);
}

// A tensor that keeps a Python object alive.
struct Export {
  dlpack::ManagedTensor managed{};
  Extents shape, strides;
  py::object owner;

  static void free(dlpack::ManagedTensor* managed) {
    const py::gil_scoped_acquire gil;  // consumers free where they like
    delete static_cast<Export*>(managed->context);
  }
};

void free_if_unused(PyObject* capsule) {
  if (!PyCapsule_IsValid(capsule, dlpack::kUnused)) return;
  auto* const managed = static_cast<dlpack::ManagedTensor*>(PyCapsule_GetPointer(capsule, dlpack::kUnused));
  managed->deleter(managed);
}

py::object dlpack_capsule(py::object owner, std::uintptr_t pointer, Extents shape, Extents strides,
                          const std::string& type, std::pair<std::int32_t, std::int32_t> device) {
  require(shape.size() == strides.size(), "strides: one for each axis");
  auto exported = std::make_unique<Export>();
  exported->shape = std::move(shape);
  exported->strides = std::move(strides);
  exported->owner = std::move(owner);
  exported->managed = {{reinterpret_cast<void*>(pointer),
                        {device.first, device.second},
                        static_cast<std::int32_t>(exported->shape.size()),
                        data_type(type),
                        exported->shape.data(),
                        exported->strides.data(),
                        0},
                       exported.get(),
                       &Export::free};
  PyObject* const capsule = PyCapsule_New(&exported->managed, dlpack::kUnused, &free_if_unused);
  if (capsule == nullptr) throw py::error_already_set();
  exported.release();  // NOLINT(bugprone-unused-return-value): the capsule owns it now
  return py::reinterpret_steal<py::object>(capsule);
}

}  // namespace

void register_device(py::module_& module) {
  module.def(
      "set_device_kernels",
      [](const py::capsule& table) {
        void* const kernels = PyCapsule_GetPointer(table.ptr(), kDeviceKernelsName);
        if (kernels == nullptr) throw py::error_already_set();
        set_device_kernels(static_cast<const DeviceKernels*>(kernels));
      },
      py::arg("capsule"), "Takes the table of kernels of a device's module.");
  module.def("dlpack_contents", &dlpack_contents, py::arg("capsule"),
             "(pointer, shape, strides in elements, typestr, device type, device number) of an unused DLPack capsule.");
  module.def("dlpack_capsule", &dlpack_capsule, py::arg("owner"), py::arg("pointer"), py::arg("shape"),
             py::arg("strides"), py::arg("typestr"), py::arg("device"),
             "A DLPack capsule of memory that `owner` keeps alive.");
}

}  // namespace steppe::bindings
