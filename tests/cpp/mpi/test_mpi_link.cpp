#include "steppe/comm/mpi_link.hpp"

#include <doctest/doctest.h>

#include "comm/link_cases.hpp"
#include "steppe/comm/mpi_libraries.hpp"
#include "steppe/core/errors.hpp"

namespace {

std::unique_ptr<steppe::Link> world_link(double timeout = 30, std::size_t piece_bytes = std::size_t{1} << 30) {
  return steppe::make_mpi_link(steppe::MpiRuntime::world(), {timeout, piece_bytes});
}

}  // namespace

TEST_CASE("an MPI link keeps the promises of a link, also when everything travels in pieces") {
  using namespace steppe::test;
  for (const std::size_t piece_bytes : {std::size_t{1} << 30, std::size_t{50}}) {
    CAPTURE(piece_bytes);
    frames_arrive_whole_and_in_order(*world_link(30, piece_bytes));
    allgather_is_in_rank_order(*world_link(30, piece_bytes));
    collectives_and_frames_do_not_mix(*world_link(30, piece_bytes));
    sums_are_equal_on_all_ranks(*world_link(30, piece_bytes));
    bad_input_on_one_rank_is_bad_input_on_all(*world_link(30, piece_bytes));
    an_exception_on_one_rank_is_met_on_all(*world_link(30, piece_bytes));
    a_flood_of_frames_is_delivered_once(*world_link(30, piece_bytes));
  }
}

TEST_CASE("a frame larger than MPI's eager limit crosses while both sides only send") {
  const auto link = world_link();
  if (link->size() == 1) return;
  const std::uint32_t to = (link->rank() + 1) % link->size();
  const std::uint32_t from = (link->rank() + link->size() - 1) % link->size();
  constexpr std::size_t kSize = 20'000'000;
  for (std::uint32_t number = 0; number < 3; ++number) {
    link->send(to, steppe::test::marked(link->rank(), to, number, kSize));
  }
  for (std::uint32_t number = 0; number < 3;) {
    const auto frame = link->try_receive();
    if (!frame) continue;
    CHECK(frame->from == from);
    CHECK(frame->bytes == steppe::test::marked(from, link->rank(), number, kSize));
    ++number;
  }
}

TEST_CASE("a rank that does not come to a collective is named, and the link is given up") {
  const auto link = world_link(0.8);
  const auto ending = world_link();
  steppe::test::a_silent_rank_is_named(*link);
  if (link->size() > 1 && link->rank() + 1 < link->size()) {
    CHECK_THROWS_AS(link->allgather({}), steppe::ClusterError);
  } else {
    link->allgather({});  // completes what the others have given up, so that MPI can end
  }
  barrier(*ending);
}

TEST_CASE("links over one communicator do not hear each other") {
  const auto first = world_link();
  const auto second = world_link();
  if (first->size() == 1) return;
  const std::uint32_t to = (first->rank() + 1) % first->size();
  first->send(to, steppe::test::marked(0, 0, 1, 10));
  second->send(to, steppe::test::marked(0, 0, 2, 10));
  std::optional<steppe::Frame> frame;
  while (!frame) frame = second->try_receive();
  CHECK(frame->bytes == steppe::test::marked(0, 0, 2, 10));
  for (frame.reset(); !frame;) frame = first->try_receive();
  CHECK(frame->bytes == steppe::test::marked(0, 0, 1, 10));
}

TEST_CASE("options out of range and a communicator that is none are refused") {
  CHECK_THROWS_AS(world_link(0), steppe::InvalidArgument);
  CHECK_THROWS_AS(world_link(1, 0), steppe::InvalidArgument);
  CHECK_THROWS_AS(world_link(1, std::size_t{1} << 31), steppe::InvalidArgument);
  CHECK_THROWS_AS(steppe::make_mpi_link(0), steppe::ClusterError);
}

TEST_CASE("the library in use is known by name") {
  CHECK(steppe::loaded_mpi_libraries().size() == 1);
  CHECK_FALSE(steppe::mpi_library_version().empty());
}
