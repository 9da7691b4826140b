#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace steppe {

// A cache line, and the widest vector register: what arrays that kernels stream over are aligned to.
inline constexpr std::size_t kCacheLine = 64;

template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) noexcept {}

  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{kCacheLine})); }
  void deallocate(T* p, std::size_t) noexcept { ::operator delete(p, std::align_val_t{kCacheLine}); }
  template <class U>
  bool operator==(const AlignedAllocator<U>&) const noexcept {
    return true;
  }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;

// n rounded up to whole cache lines of T.
template <class T>
constexpr std::size_t padded(std::size_t n) {
  constexpr std::size_t lane = kCacheLine / sizeof(T);
  return (n + lane - 1) / lane * lane;
}

}  // namespace steppe
