#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <iostream>

#include "cuda/device.hpp"

// Without a device there is nothing to test, which is no failure: 77 is what CTest shows as skipped.
int main(int argc, char** argv) {
  if (const std::string why = steppe::cuda::why_unusable(); !why.empty()) {
    std::cout << "skipped: " << why << '\n';
    return 77;
  }
  doctest::Context context(argc, argv);
  return context.run();
}
