#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include "steppe/comm/mpi_link.hpp"

// Every rank runs all tests; mpiexec fails if one rank does.
int main(int argc, char** argv) {
  const steppe::MpiRuntime runtime;
  return doctest::Context(argc, argv).run();
}
