#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bindings/arrays.hpp"
#include "cuda/cells.hpp"
#include "cuda/cublas.hpp"
#include "cuda/device.hpp"
#include "cuda/sorted_projection.hpp"
#include "steppe/core/errors.hpp"
#include "steppe/models/ot/site_pack.hpp"
#include "steppe/runtime/device.hpp"

// _cuda: an extension of its own, so that _core needs no CUDA. Its import fails where nothing can run, and says why.
// Arrays of the device are steppe._device.DeviceArray: anything with pointer, shape, strides and typestr.
namespace steppe::bindings {
namespace {

namespace py = pybind11;

constexpr DeviceKernels kKernels{.upload_float = &cuda::upload_rows<float>,
                                 .upload_double = &cuda::upload_rows<double>};

bool single(const py::object& array) { return array.attr("typestr").cast<std::string>() == "<f4"; }

template <class T>
T* pointer_of(const py::object& array) {
  return reinterpret_cast<T*>(array.attr("pointer").cast<std::uintptr_t>());
}

template <class T>
MatrixView<T> device_matrix(const py::object& array) {
  const auto shape = array.attr("shape").cast<std::vector<std::size_t>>();
  const auto strides = array.attr("strides").cast<std::vector<std::size_t>>();
  require(shape.size() == 2, "array: a matrix was expected");
  const std::string type = array.attr("typestr").cast<std::string>();
  require(type == (sizeof(T) == 4 ? "<f4" : "<f8"), "array: is of another dtype than the first");
  require(strides[1] == 1 || shape[1] <= 1, "array: the rows are not contiguous; pass it in C order");
  return {pointer_of<T>(array), shape[0], shape[1], std::max(strides[0], shape[1])};
}

// f(T{}) with the element type of the array, without the GIL.
template <class F>
auto for_type_of(const py::object& array, F&& f) {
  return single(array) ? f(float{}) : f(double{});
}

void assign_cells(const py::object& x, const py::array& sites, const NdArray<double>& potential, bool squared,
                  bool tf32, const py::object& labels) {
  for_type_of(x, [&]<class T>(T) {
    const auto rows = device_matrix<const T>(x);
    const auto places = matrix_view<T>(py::reinterpret_borrow<NdArray<T>>(sites));
    const auto phi = vector_view(potential);
    auto* const cells = pointer_of<std::int32_t>(labels);
    require(places.cols() == rows.cols(), "sites: have another number of columns than X");
    const py::gil_scoped_release released;
    // Without potentials the nearest site is the same for both costs, and inner products find it faster.
    const bool flat = std::all_of(phi.begin(), phi.end(), [](double value) { return value == 0; });
    SitePack<T> pack(places, squared || flat);
    pack.set_potential(phi);
    cuda::assign_cells<T>(rows, pack.view(), tf32 ? cuda::Precision::tf32 : cuda::Precision::full, cells);
  });
}

void costs_of_cells(const py::object& x, const py::object& sites, const py::object& potential, bool squared,
                    const py::object& labels, const py::object& costs) {
  for_type_of(x, [&]<class T>(T) {
    const auto rows = device_matrix<const T>(x), places = device_matrix<const T>(sites);
    const auto* const phi = pointer_of<const double>(potential);
    const auto* const cells = pointer_of<const std::int32_t>(labels);
    auto* const out = pointer_of<T>(costs);
    const py::gil_scoped_release released;
    cuda::costs_of_cells<T>(rows, places, phi, squared, cells, out);
  });
}

void take_rows(const py::object& x, const py::object& labels, const py::object& taken) {
  for_type_of(x, [&]<class T>(T) {
    const auto rows = device_matrix<const T>(x);
    const auto out = device_matrix<T>(taken);
    const auto* const cells = pointer_of<const std::int32_t>(labels);
    const py::gil_scoped_release released;
    cuda::take_rows<T>(rows, cells, out);
  });
}

bool all_finite(const py::object& x) {
  return for_type_of(x, [&]<class T>(T) {
    const auto rows = device_matrix<const T>(x);
    const py::gil_scoped_release released;
    return cuda::all_finite<T>(rows);
  });
}

void sorted_targets(const py::object& x, const py::object& y, const py::object& targets) {
  for_type_of(x, [&]<class T>(T) {
    const auto xs = device_matrix<const T>(x), ys = device_matrix<const T>(y);
    const auto out = device_matrix<T>(targets);
    const py::gil_scoped_release released;
    cuda::sorted_targets<T>(xs, ys, out);
  });
}

py::array_t<double> sliced_distances(const py::object& x, const py::object& y, const py::object& directions, double p) {
  return for_type_of(x, [&]<class T>(T) {
    const auto xs = device_matrix<const T>(x), ys = device_matrix<const T>(y),
               along = device_matrix<const T>(directions);
    py::array_t<double> distances(static_cast<py::ssize_t>(along.cols()));
    const std::span<double> out(distances.mutable_data(), along.cols());
    {
      const py::gil_scoped_release released;
      cuda::sliced_distances<T>(xs, ys, along, p, out);
    }
    return distances;
  });
}

void project(const py::object& x, const py::object& directions, const py::object& projected) {
  for_type_of(x, [&]<class T>(T) {
    const auto xs = device_matrix<const T>(x), along = device_matrix<const T>(directions);
    const auto out = device_matrix<T>(projected);
    const py::gil_scoped_release released;
    cuda::project<T>(xs, along, out);
  });
}

void register_memory(py::module_& module) {
  py::class_<cuda::DeviceMemory>(module, "Memory", "Memory of the device, freed with this object.")
      .def(py::init<std::size_t>(), py::arg("n_bytes"))
      .def_property_readonly(
          "pointer", [](const cuda::DeviceMemory& memory) { return reinterpret_cast<std::uintptr_t>(memory.data()); });
  module.def(
      "upload",
      [](std::uintptr_t pointer, const py::array& host) {
        require((host.flags() & py::array::c_style) != 0, "array: is not in C order");
        cuda::copy_to_device(reinterpret_cast<void*>(pointer), host.data(), static_cast<std::size_t>(host.nbytes()));
      },
      py::arg("pointer"), py::arg("host"));
  module.def(
      "download",
      [](py::array host, std::uintptr_t pointer) {
        require((host.flags() & py::array::c_style) != 0, "array: is not in C order");
        cuda::copy_to_host(host.mutable_data(), reinterpret_cast<const void*>(pointer),
                           static_cast<std::size_t>(host.nbytes()));
      },
      py::arg("host"), py::arg("pointer"));
  module.def("wait_for_stream", &cuda::wait_for_stream, py::arg("stream"), py::call_guard<py::gil_scoped_release>());
  module.def("current_device", &cuda::current_device);
  module.def("device_of",
             [](std::uintptr_t pointer) { return cuda::device_of(reinterpret_cast<const void*>(pointer)); });
}

py::dict device_facts() {
  const cuda::DeviceFacts facts = cuda::device_facts();
  py::dict told;
  told["name"] = facts.name;
  told["compute_capability"] = py::make_tuple(facts.major, facts.minor);
  told["multiprocessors"] = facts.multiprocessors;
  told["memory"] = facts.memory;
  told["driver"] = facts.driver;
  told["runtime"] = facts.runtime;
  return told;
}

}  // namespace
}  // namespace steppe::bindings

PYBIND11_MODULE(_cuda, module) {
  using namespace steppe::bindings;
  if (const std::string why = steppe::cuda::why_unusable(); !why.empty()) throw py::import_error(why);
  module.doc() = "CUDA kernels of steppe; use device='cuda' instead.";
  module.attr("kernels") = py::capsule(&kKernels, steppe::kDeviceKernelsName);
  register_memory(module);
  module.def("device_facts", &device_facts, "Name, compute capability, size and versions of the device in use.");
  module.def("set_cublas_paths", &steppe::cuda::set_cublas_paths, py::arg("paths"));
  module.def("cublas_path", &steppe::cuda::cublas_path, "The cuBLAS in use; loads it.");
  module.def("assign_cells", &assign_cells, py::arg("X"), py::arg("sites"), py::arg("potential"), py::kw_only(),
             py::arg("squared"), py::arg("tf32"), py::arg("labels"), "Fills labels. The sites are the host's.");
  module.def("costs_of_cells", &costs_of_cells, py::arg("X"), py::arg("sites"), py::arg("potential"), py::kw_only(),
             py::arg("squared"), py::arg("labels"), py::arg("costs"), "Fills costs.");
  module.def("take_rows", &take_rows, py::arg("X"), py::kw_only(), py::arg("labels"), py::arg("taken"), "Fills taken.");
  module.def("all_finite", &all_finite, py::arg("X"));
  module.def("sorted_targets", &sorted_targets, py::arg("X"), py::arg("Y"), py::kw_only(), py::arg("targets"),
             "Fills targets.");
  module.def("project", &project, py::arg("X"), py::arg("directions"), py::kw_only(), py::arg("projected"),
             "Fills projected, one row for each direction.");
  module.def("sliced_distances", &sliced_distances, py::arg("X"), py::arg("Y"), py::arg("directions"), py::kw_only(),
             py::arg("p"), "The distance along each direction.");
}
