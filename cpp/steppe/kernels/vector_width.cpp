#include "steppe/kernels/vector_width.hpp"

namespace steppe::kernels {
namespace {

std::size_t detect() noexcept {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  if (v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd")) {
    return 64;
  }
  if (v3) return 32;
#endif
  return 16;
}

}  // namespace

std::size_t vector_bytes() noexcept {
  static const std::size_t bytes = detect();
  return bytes;
}

}  // namespace steppe::kernels
