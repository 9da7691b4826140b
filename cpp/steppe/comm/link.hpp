#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "steppe/core/bytes.hpp"

namespace steppe {

struct Frame {
  std::uint32_t from;
  Bytes bytes;
};

// All that algorithms know of other processes: ranks and bytes, never values. Used by one thread of each rank.
// Frames between two ranks arrive in the order sent. A rank that stays silent beyond the time-out inside a collective,
// or whose process is gone, is named by a ClusterError.
class Link {
 public:
  virtual ~Link() = default;
  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  virtual std::uint32_t rank() const = 0;
  virtual std::uint32_t size() const = 0;

  // Never blocks: the link owns the bytes until they are on their way. Sending to oneself is not allowed.
  virtual void send(std::uint32_t to, Bytes bytes) = 0;
  virtual std::optional<Frame> try_receive() = 0;

  // Collective. Everybody's bytes in rank order; every sum over ranks is made from this, in that order, so that all
  // ranks hold the same bits.
  virtual std::vector<Bytes> allgather(Bytes mine) = 0;

  // Seconds of silence after which a waiting rank gives up and names the silent one.
  virtual double timeout() const = 0;
};

// Collective, each built on allgather (comm/collectives.cpp).
void barrier(Link& link);
// Adds elementwise over ranks, in rank order.
void sum_over_ranks(Link& link, std::span<double> values);
void sum_over_ranks(Link& link, std::span<std::uint64_t> values);
// Whether some rank wants something, such as to stop.
bool wanted_by_any(Link& link, bool mine);
// What one rank met ends the work of all: it rethrows its own exception, null for none; the others throw what the first
// failing rank met and name it, as InvalidArgument if it was that, else as ClusterError.
void agree_on_error(Link& link, const std::exception_ptr& mine);
// The first non-empty message in rank order becomes an exception on every rank: InvalidArgument where it happened and
// elsewhere, so that bad input on one rank is bad input on all.
void agree_on_input(Link& link, const std::string& my_error);

}  // namespace steppe
