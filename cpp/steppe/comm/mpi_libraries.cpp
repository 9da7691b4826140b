#include "steppe/comm/mpi_libraries.hpp"

#include <link.h>

#include <array>
#include <cstddef>
#include <string_view>

namespace steppe {
namespace {

// MPICH and its kin, Debian's MPICH, the standard ABI of MPI 5, and copies that a wheel brought along under a hash.
constexpr std::array<std::string_view, 4> kStems{"libmpi.so", "libmpich.so", "libmpi_abi.so", "libmpi-"};

int add_if_mpi(dl_phdr_info* info, std::size_t, void* paths) {
  const std::string_view path = info->dlpi_name;
  const std::string_view file = path.substr(path.rfind('/') + 1);
  for (const std::string_view stem : kStems) {
    if (file.starts_with(stem)) static_cast<std::vector<std::string>*>(paths)->emplace_back(path);
  }
  return 0;
}

}  // namespace

std::vector<std::string> loaded_mpi_libraries() {
  std::vector<std::string> paths;
  dl_iterate_phdr(add_if_mpi, &paths);
  return paths;
}

}  // namespace steppe
