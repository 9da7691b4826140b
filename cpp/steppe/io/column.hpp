#pragma once

#include <vector>

#include "steppe/core/bytes.hpp"

namespace steppe::io {

// An array that a reader fills at once, in parallel: zeroing it first would cost a pass on one thread.
template <class T>
using Column = std::vector<T, UninitialisedAllocator<T>>;

}  // namespace steppe::io
