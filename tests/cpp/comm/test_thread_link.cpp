#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "../schedules/rank_harness.hpp"
#include "steppe/comm/local_link.hpp"

namespace {
steppe::Bytes bytes_of(const std::string& text) {
  steppe::Bytes bytes(text.size());
  if (!text.empty()) std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}
std::string text_of(const steppe::Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
}  // namespace

TEST_CASE("allgather gives everybody's bytes in rank order, again and again") {
  on_ranks(4, [](std::uint32_t rank, steppe::Link& link) {
    for (int round = 0; round < 200; ++round) {
      const auto all = link.allgather(bytes_of(std::string(rank + round % 3, static_cast<char>('a' + rank))));
      REQUIRE(all.size() == 4);
      for (std::uint32_t r = 0; r < 4; ++r) {
        REQUIRE(text_of(all[r]) == std::string(r + round % 3, static_cast<char>('a' + r)));
      }
    }
  });
}

TEST_CASE("frames between two ranks keep their order") {
  on_ranks(3, [](std::uint32_t rank, steppe::Link& link) {
    for (std::uint32_t to = 0; to < 3; ++to) {
      for (int i = 0; to != rank && i < 100; ++i) link.send(to, bytes_of(std::to_string(i)));
    }
    std::vector<int> next(3, 0);
    for (int received = 0; received < 200;) {
      if (auto frame = link.try_receive()) {
        REQUIRE(text_of(frame->bytes) == std::to_string(next[frame->from]++));
        ++received;
      }
    }
    steppe::barrier(link);
    CHECK(!link.try_receive());
  });
}

TEST_CASE("sums over ranks have the same bits everywhere") {
  std::vector<double> sums(3);
  on_ranks(3, [&](std::uint32_t rank, steppe::Link& link) {
    double value[] = {0.1 * (rank + 1)};
    steppe::sum_over_ranks(link, value);
    sums[rank] = value[0];
  });
  CHECK(sums[0] == (0.1 + 0.1 * 2) + 0.1 * 3);
  CHECK(sums[1] == sums[0]);
  CHECK(sums[2] == sums[0]);
}

TEST_CASE("bad input on one rank is bad input on all") {
  std::vector<std::exception_ptr> errors;
  on_ranks(
      2, [](std::uint32_t rank, steppe::Link& link) { steppe::agree_on_input(link, rank == 1 ? "X holds nan" : ""); },
      &errors);
  for (const auto& error : errors) CHECK(steppe::describe(error) == "rank 1: X holds nan");
  steppe::LocalLink alone;
  CHECK_NOTHROW(steppe::agree_on_input(alone, ""));
  CHECK_THROWS_WITH_AS(steppe::agree_on_input(alone, "X holds nan"), "X holds nan", steppe::InvalidArgument);
}

TEST_CASE("a silent rank is named by the time-out") {
  auto links = steppe::make_thread_links(2, 0.05);
  CHECK_THROWS_WITH_AS(links[0]->allgather({}), "rank 1 stayed silent in a collective beyond the time-out",
                       steppe::ClusterError);
}
