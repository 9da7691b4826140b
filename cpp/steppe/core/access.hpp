#pragma once

#include <atomic>

namespace steppe {

// How a kernel may touch parameters. Tokens are owned, so their rows are Exclusive: plain loads the compiler can
// vectorise. Only hogwild shares rows, and pays for it: relaxed atomics, which lose updates by design but keep the
// program free of data races.
struct Exclusive {
  template <class T>
  static T load(const T& place) noexcept {
    return place;
  }
  template <class T>
  static void store(T& place, T value) noexcept {
    place = value;
  }
};

struct Shared {
  template <class T>
  static T load(const T& place) noexcept {
    return std::atomic_ref<T>(const_cast<T&>(place)).load(std::memory_order_relaxed);
  }
  template <class T>
  static void store(T& place, T value) noexcept {
    std::atomic_ref<T>(place).store(value, std::memory_order_relaxed);
  }
};

}  // namespace steppe
