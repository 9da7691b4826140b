#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "steppe/comm/link.hpp"

namespace steppe {

struct MpiLinkOptions {
  double timeout_seconds = 300;  // a rank may read its data while others already wait for it
  // Longest single MPI message; what is longer travels in pieces, since MPI-3 counts are 32-bit. All ranks must agree.
  std::size_t piece_bytes = std::size_t{1} << 30;
};

// Collective over `communicator`, the value of an MPI_Comm (mpi4py's `comm.handle`), which is duplicated: frames never
// meet the caller's own messages. MPI must be initialised with at least MPI_THREAD_FUNNELED, and the link must be used
// and destroyed by the thread that talks to MPI.
std::unique_ptr<Link> make_mpi_link(std::uintptr_t communicator, const MpiLinkOptions& options = {});

// MPI for a C++ program that has no mpi4py: initialises on construction, finalises on destruction.
class MpiRuntime {
 public:
  MpiRuntime();
  ~MpiRuntime();
  MpiRuntime(const MpiRuntime&) = delete;
  MpiRuntime& operator=(const MpiRuntime&) = delete;

  static std::uintptr_t world();
};

// First line of what the library says of itself; needs no initialisation.
std::string mpi_library_version();

}  // namespace steppe
