#pragma once

#include <cstdint>
#include <functional>

#include "steppe/comm/link.hpp"

namespace steppe::test {

// What every Link promises. Each function is called by all ranks of a fresh link and checks with doctest.
void frames_arrive_whole_and_in_order(Link& link);
void a_flood_of_frames_is_delivered_once(Link& link);
void allgather_is_in_rank_order(Link& link);
void collectives_and_frames_do_not_mix(Link& link);
void sums_are_equal_on_all_ranks(Link& link);
void bad_input_on_one_rank_is_bad_input_on_all(Link& link);
void an_exception_on_one_rank_is_met_on_all(Link& link);
// The link needs a time-out of about a second and is unusable afterwards.
void a_silent_rank_is_named(Link& link);

// Bytes that tell who sent them, to whom, and as which of their frames.
Bytes marked(std::uint32_t from, std::uint32_t to, std::uint32_t number, std::size_t size);

}  // namespace steppe::test
