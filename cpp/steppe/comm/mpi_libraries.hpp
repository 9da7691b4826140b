#pragma once

#include <string>
#include <vector>

namespace steppe {

// Paths of the MPI libraries mapped into this process; needs no MPI. Two are one too many: a communicator of one means
// nothing to the other.
std::vector<std::string> loaded_mpi_libraries();

}  // namespace steppe
