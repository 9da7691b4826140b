#pragma once

#include <cstddef>
#include <vector>

namespace steppe {

// A cache line, and the widest vector register: what arrays that kernels stream over are aligned to.
inline constexpr std::size_t kCacheLine = 64;

// Uninitialised memory at the start of a cache line. Where there is much of it, it asks the system for huge pages: the
// rows that kernels read lie anywhere, and with small pages nearly each of them costs a walk through the page tables.
void* allocate_aligned(std::size_t bytes);
void free_aligned(void* memory, std::size_t bytes) noexcept;

template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) noexcept {}

  T* allocate(std::size_t n) { return static_cast<T*>(allocate_aligned(n * sizeof(T))); }
  void deallocate(T* p, std::size_t n) noexcept { free_aligned(p, n * sizeof(T)); }
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
