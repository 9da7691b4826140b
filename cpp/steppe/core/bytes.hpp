#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "steppe/core/aligned.hpp"

namespace steppe {

// Leaves new elements uninitialised: frames are filled at once, so zeroing them first would cost a second pass.
// Aligned, so that arrays can live in them.
template <class T>
struct UninitialisedAllocator : AlignedAllocator<T> {
  UninitialisedAllocator() = default;
  template <class U>
  UninitialisedAllocator(const UninitialisedAllocator<U>&) noexcept {}

  template <class U>
  struct rebind {
    using other = UninitialisedAllocator<U>;
  };
  template <class U>
  void construct(U* place) noexcept {
    ::new (static_cast<void*>(place)) U;
  }
  template <class U, class... Args>
  void construct(U* place, Args&&... args) {
    ::new (static_cast<void*>(place)) U(std::forward<Args>(args)...);
  }
};

using Bytes = std::vector<std::byte, UninitialisedAllocator<std::byte>>;

}  // namespace steppe
