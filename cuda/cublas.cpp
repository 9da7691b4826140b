#include "cuda/cublas.hpp"

#include <dlfcn.h>

#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "cuda/device.hpp"
#include "steppe/core/errors.hpp"

namespace steppe::cuda {
namespace {

// From cublas_api.h, whose C interface is the same in versions 11 to 13.
using Handle = void*;
constexpr int kTranspose = 1;

template <class T>
using Gemm = int (*)(Handle, int, int, int, int, int, const T*, const T*, int, const T*, int, const T*, T*, int);

std::vector<std::string>& first_paths() {
  static std::vector<std::string> paths;
  return paths;
}

void check_cublas(int status, const char* what) {
  if (status != 0)
    throw std::runtime_error(std::string("cuBLAS: ") + what + " failed with status " + std::to_string(status));
}

// One for the process, and never closed: at exit the driver may be gone before it. A handle belongs to the device that
// was the current one when it was made.
class Cublas {
 public:
  static Cublas& get() {
    static Cublas* const loaded = new Cublas;
    return *loaded;
  }

  const std::string& path() const { return path_; }

  template <class T>
  void gemm(int m, int n, int k, const T* a, int lda, const T* b, int ldb, T* c, void* stream, std::size_t lane) {
    const std::scoped_lock lock(mutex_);
    const T one = 1, zero = 0;
    Handle& handle = handles_[{current_device(), lane}];
    if (handle == nullptr) check_cublas(create_(&handle), "cublasCreate");
    check_cublas(set_stream_(handle, stream), "cublasSetStream");
    check_cublas(gemm_of(T{})(handle, kTranspose, kTranspose, m, n, k, &one, a, lda, b, ldb, &zero, c, m), "gemm");
  }

 private:
  Cublas() {
    std::vector<std::string> names = first_paths();
    names.insert(names.end(), {"libcublas.so.13", "libcublas.so.12", "libcublas.so"});
    std::string tried;
    for (const std::string& name : names) {
      library_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library_ != nullptr) {
        path_ = name;
        break;
      }
      tried += "\n  " + std::string(dlerror());  // NOLINT(concurrency-mt-unsafe): per thread in glibc
    }
    if (library_ == nullptr)
      throw std::runtime_error("cuBLAS was not found; pip install nvidia-cublas brings it:" + tried);
    take(create_, "cublasCreate_v2");
    take(set_stream_, "cublasSetStream_v2");
    take(sgemm_, "cublasSgemm_v2");
    take(dgemm_, "cublasDgemm_v2");
  }

  template <class Function>
  void take(Function& slot, const char* name) {
    slot = reinterpret_cast<Function>(dlsym(library_, name));
    if (slot == nullptr) throw std::runtime_error(path_ + " has no " + name);
  }

  Gemm<float> gemm_of(float) const { return sgemm_; }
  Gemm<double> gemm_of(double) const { return dgemm_; }

  void* library_ = nullptr;
  std::string path_;
  int (*create_)(Handle*) = nullptr;
  int (*set_stream_)(Handle, void*) = nullptr;
  Gemm<float> sgemm_ = nullptr;
  Gemm<double> dgemm_ = nullptr;
  std::map<std::pair<int, std::size_t>, Handle> handles_;  // by device and lane
  std::mutex mutex_;
};

int as_int(std::size_t value) {
  require(value < (std::size_t{1} << 31), "X: cuBLAS takes fewer than 2^31 rows and columns");
  return static_cast<int>(value);
}

}  // namespace

void set_cublas_paths(std::vector<std::string> paths) { first_paths() = std::move(paths); }

std::string cublas_path() { return Cublas::get().path(); }

// cuBLAS is column-major: it sees A and B transposed, and C, which is, as it is.
template <class T>
void transposed_product(std::size_t rows, std::size_t columns, std::size_t depth, const T* a, std::size_t a_stride,
                        const T* b, std::size_t b_stride, T* c, void* stream, std::size_t lane) {
  Cublas::get().gemm<T>(as_int(rows), as_int(columns), as_int(depth), a, as_int(a_stride), b, as_int(b_stride), c,
                        stream, lane);
}

template void transposed_product(std::size_t, std::size_t, std::size_t, const float*, std::size_t, const float*,
                                 std::size_t, float*, void*, std::size_t);
template void transposed_product(std::size_t, std::size_t, std::size_t, const double*, std::size_t, const double*,
                                 std::size_t, double*, void*, std::size_t);

}  // namespace steppe::cuda
