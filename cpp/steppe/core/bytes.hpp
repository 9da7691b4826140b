#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace steppe {

// Leaves new elements uninitialised: frames are filled at once, so zeroing them first would cost a second pass.
template <class T>
struct UninitialisedAllocator : std::allocator<T> {
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
