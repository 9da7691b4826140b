#include <doctest/doctest.h>

#include <cmath>

#include "steppe/core/special_functions.hpp"

using namespace steppe;

TEST_CASE("digamma and log_gamma at known points, and by their recurrences") {
  CHECK(digamma(1) == doctest::Approx(-0.57721566490153286).epsilon(1e-14));
  CHECK(digamma(0.5) == doctest::Approx(-1.9635100260214235).epsilon(1e-14));
  CHECK(digamma(100) == doctest::Approx(4.6001618527380874).epsilon(1e-14));
  CHECK(log_gamma(0.5) == doctest::Approx(0.57236494292470009).epsilon(1e-14));
  CHECK(log_gamma(5) == doctest::Approx(std::log(24.0)).epsilon(1e-14));
  CHECK(log_gamma(1e6) == doctest::Approx(12815504.569147612).epsilon(1e-14));
  for (double x = 1e-3; x < 1e5; x *= 1.7) {
    CAPTURE(x);
    CHECK(digamma(x + 1) - digamma(x) == doctest::Approx(1 / x).epsilon(1e-9));
    CHECK(std::abs(log_gamma(x + 1) - log_gamma(x) - std::log(x)) < 1e-14 * (10 + std::abs(log_gamma(x))));
  }
}
