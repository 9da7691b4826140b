#include <cstring>

#include "steppe/comm/link.hpp"
#include "steppe/comm/wire.hpp"
#include "steppe/core/errors.hpp"

namespace steppe {
namespace {

template <class T>
void sum_in_rank_order(Link& link, std::span<T> values) {
  if (link.size() == 1) return;
  Bytes mine;
  WireWriter(mine).put(std::span<const T>(values));
  const auto all = link.allgather(std::move(mine));
  std::fill(values.begin(), values.end(), T{});
  for (const Bytes& bytes : all) {
    WireReader reader(bytes);
    for (T& value : values) value += reader.get<T>();
  }
}

bool is_bad_input(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const InvalidArgument&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace

void barrier(Link& link) { link.allgather({}); }

void sum_over_ranks(Link& link, std::span<double> values) { sum_in_rank_order(link, values); }

void sum_over_ranks(Link& link, std::span<std::uint64_t> values) { sum_in_rank_order(link, values); }

bool wanted_by_any(Link& link, bool mine) {
  std::uint64_t wishes[] = {mine ? 1u : 0u};
  sum_over_ranks(link, wishes);
  return wishes[0] > 0;
}

void agree_on_error(Link& link, const std::exception_ptr& mine) {
  Bytes bytes;
  if (mine) {
    const std::string text = describe(mine);
    WireWriter writer(bytes);
    writer.put(static_cast<std::uint8_t>(is_bad_input(mine)));
    writer.put(std::span(text.data(), text.size()));
  }
  const auto all = link.allgather(std::move(bytes));
  if (mine) std::rethrow_exception(mine);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    WireReader reader(all[rank]);
    const bool bad_input = reader.get<std::uint8_t>() != 0;
    std::string text(all[rank].size() - 1, '\0');
    reader.get(std::span(text));
    text.insert(0, "rank " + std::to_string(rank) + (bad_input ? ": " : " failed: "));
    if (bad_input) throw InvalidArgument(text);
    throw ClusterError(static_cast<int>(rank), text);
  }
}

void agree_on_input(Link& link, const std::string& my_error) {
  Bytes mine(my_error.size());
  if (!my_error.empty()) std::memcpy(mine.data(), my_error.data(), my_error.size());
  const auto all = link.allgather(std::move(mine));
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    const std::string error(reinterpret_cast<const char*>(all[rank].data()), all[rank].size());
    throw InvalidArgument(all.size() == 1 ? error : "rank " + std::to_string(rank) + ": " + error);
  }
}

}  // namespace steppe
