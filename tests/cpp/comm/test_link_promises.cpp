#include "steppe/comm/thread_link.hpp"

#include <doctest/doctest.h>

#include <thread>

#include "comm/link_cases.hpp"

namespace {

void on_threads(std::uint32_t ranks, double timeout, void (*check)(steppe::Link&)) {
  auto links = steppe::make_thread_links(ranks, timeout);
  std::vector<std::jthread> threads;
  for (auto& link : links) threads.emplace_back([&link, check] { check(*link); });
}

}  // namespace

TEST_CASE("a thread link keeps the promises of a link") {
  using namespace steppe::test;
  for (const std::uint32_t ranks : {1u, 2u, 3u}) {
    CAPTURE(ranks);
    on_threads(ranks, 30, frames_arrive_whole_and_in_order);
    on_threads(ranks, 30, a_flood_of_frames_is_delivered_once);
    on_threads(ranks, 30, allgather_is_in_rank_order);
    on_threads(ranks, 30, collectives_and_frames_do_not_mix);
    on_threads(ranks, 30, sums_are_equal_on_all_ranks);
    on_threads(ranks, 30, bad_input_on_one_rank_is_bad_input_on_all);
    on_threads(ranks, 30, an_exception_on_one_rank_is_met_on_all);
    on_threads(ranks, 0.5, a_silent_rank_is_named);
  }
}
