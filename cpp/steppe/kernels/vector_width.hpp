#pragma once

#include <cstddef>

namespace steppe::kernels {

// Widest vector registers that this machine uses, in bytes: 64 (x86-64-v4), 32 (x86-64-v3), or 16 for anything else.
// Kernels whose registers must hold a whole row are written once for vectors of any width, compiled for the two wide
// levels and chosen by this; STEPPE_MULTIVERSION serves where the compiler may pick the width by itself.
std::size_t vector_bytes() noexcept;

// A vector of Bytes bytes of T, as GCC and Clang know it; memory need only be aligned for T.
template <class T, std::size_t Bytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(Bytes), aligned(alignof(T)), may_alias));
  static constexpr std::size_t lanes = Bytes / sizeof(T);
};

template <class T, std::size_t Bytes>
using Vec = typename VectorOf<T, Bytes>::type;

// Four sums side by side: what transposed reductions end in.
template <class T>
using Quad = Vec<T, 4 * sizeof(T)>;

// All of these are inlined into functions of another instruction set, so vectors travel by reference.
template <class V, class T>
[[gnu::always_inline]] inline void load(V& v, const T* from) {
  v = *reinterpret_cast<const V*>(from);
}
template <class V, class T>
[[gnu::always_inline]] inline void store(T* to, const V& v) {
  *reinterpret_cast<V*>(to) = v;
}

// Adds the upper half of v to its lower half until four lanes are left.
template <class T, class V>
[[gnu::always_inline]] inline void fold_to_quad(const V& v, Quad<T>& quad) {
  constexpr std::size_t lanes = sizeof(V) / sizeof(T);
  if constexpr (lanes == 4) {
    quad = v;
  } else if constexpr (lanes == 8) {
    quad = __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
  } else {
    static_assert(lanes == 16);
    Vec<T, 8 * sizeof(T)> half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                                 __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    fold_to_quad<T>(half, quad);
  }
}

// sums = (sum of a, sum of b, sum of c, sum of d).
template <class Q>
[[gnu::always_inline]] inline void sum_quads(const Q& a, const Q& b, const Q& c, const Q& d, Q& sums) {
  const Q ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Q cd = __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
  sums = __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

// The sum of all lanes.
template <class T, class V>
[[gnu::always_inline]] inline T sum_lanes(const V& v) {
  Quad<T> quad;
  fold_to_quad<T>(v, quad);
  return (quad[0] + quad[2]) + (quad[1] + quad[3]);
}

}  // namespace steppe::kernels
