#include "steppe/core/aligned.hpp"

#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace steppe {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

constexpr std::align_val_t alignment(std::size_t bytes) {
  return std::align_val_t{bytes >= 2 * kHugePage ? kHugePage : kCacheLine};
}

}  // namespace

void* allocate_aligned(std::size_t bytes) {
  void* memory = ::operator new(bytes, alignment(bytes));
#ifdef MADV_HUGEPAGE
  // Only advice: where it is not taken, all is as it was.
  if (bytes >= 2 * kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

void free_aligned(void* memory, std::size_t bytes) noexcept { ::operator delete(memory, alignment(bytes)); }

}  // namespace steppe
