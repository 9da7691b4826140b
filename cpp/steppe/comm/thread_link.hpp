#pragma once

#include <memory>
#include <vector>

#include "steppe/comm/link.hpp"

namespace steppe {

// N ranks as N threads of one process: what tests run on, and the executable description of what a Link promises.
// Each link belongs to one thread; the group lives until its last link is gone. A link that is destroyed while others
// wait for it counts as a rank that died.
std::vector<std::unique_ptr<Link>> make_thread_links(std::uint32_t size, double timeout_seconds = 60);

}  // namespace steppe
