#include <cstdio>

#include "steppe/comm/mpi_link.hpp"

int main() {
  const steppe::MpiRuntime runtime;
  const auto link = steppe::make_mpi_link(steppe::MpiRuntime::world());
  std::printf("rank %u of %u\n", link->rank(), link->size());
  return link->allgather({}).size() == link->size() ? 0 : 1;
}
