#include <cstdio>

#include "steppe/comm/thread_link.hpp"

int main() {
  const auto links = steppe::make_thread_links(1);
  const auto all = links[0]->allgather(steppe::Bytes(3));
  std::printf("%zu rank, %zu bytes\n", all.size(), all[0].size());
  return all.size() == 1 && all[0].size() == 3 ? 0 : 1;
}
