#include "comm/link_cases.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstring>
#include <new>
#include <string>
#include <thread>

#include "steppe/core/errors.hpp"

namespace steppe::test {
namespace {

using Clock = std::chrono::steady_clock;

// The next frame, or an empty optional after 20 seconds of nothing.
std::optional<Frame> receive(Link& link) {
  const auto deadline = Clock::now() + std::chrono::seconds(20);
  while (Clock::now() < deadline) {
    if (auto frame = link.try_receive()) return frame;
    std::this_thread::yield();
  }
  return std::nullopt;
}

std::size_t size_of_frame(std::uint32_t number) { return (number % 7) * (number % 7) * (number % 7) * 50; }

}  // namespace

Bytes marked(std::uint32_t from, std::uint32_t to, std::uint32_t number, std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(from * 31 + to * 17 + number * 7 + i);
  return bytes;
}

void frames_arrive_whole_and_in_order(Link& link) {
  constexpr std::uint32_t kFrames = 40;
  for (std::uint32_t number = 0; number < kFrames; ++number) {
    for (std::uint32_t to = 0; to < link.size(); ++to) {
      if (to != link.rank()) link.send(to, marked(link.rank(), to, number, size_of_frame(number)));
    }
  }
  std::vector<std::uint32_t> met(link.size(), 0);
  for (std::uint32_t i = 0; i < kFrames * (link.size() - 1); ++i) {
    const auto frame = receive(link);
    CHECK(frame.has_value());
    if (!frame) break;
    const std::uint32_t number = met[frame->from]++;
    CHECK(frame->bytes == marked(frame->from, link.rank(), number, size_of_frame(number)));
  }
  barrier(link);
  CHECK_FALSE(link.try_receive().has_value());
}

void a_flood_of_frames_is_delivered_once(Link& link) {
  if (link.size() == 1) return;
  constexpr std::uint32_t kFrames = 3000;
  std::uint64_t received = 0, sum = 0;
  const std::uint32_t next = (link.rank() + 1) % link.size();
  const auto take = [&](const Frame& frame) {
    std::uint32_t number = 0;
    std::memcpy(&number, frame.bytes.data(), sizeof number);
    sum += number;
    ++received;
  };
  for (std::uint32_t number = 0; number < kFrames; ++number) {
    Bytes bytes(200);
    std::memcpy(bytes.data(), &number, sizeof number);
    link.send(next, std::move(bytes));
    if (number % 3 == 0) {
      if (const auto frame = link.try_receive()) take(*frame);
    }
  }
  while (received < kFrames) {
    const auto frame = receive(link);
    CHECK(frame.has_value());
    if (!frame) break;
    take(*frame);
  }
  CHECK(sum == std::uint64_t{kFrames} * (kFrames - 1) / 2);
  barrier(link);
}

void allgather_is_in_rank_order(Link& link) {
  for (std::uint32_t turn = 0; turn < 20; ++turn) {
    const auto size_of_rank = [&](std::uint32_t rank) { return (rank + turn) % 3 * (turn * 40); };
    const auto all = link.allgather(marked(link.rank(), 0, turn, size_of_rank(link.rank())));
    CHECK(all.size() == link.size());
    for (std::uint32_t rank = 0; rank < all.size(); ++rank) {
      CHECK(all[rank] == marked(rank, 0, turn, size_of_rank(rank)));
    }
  }
}

void collectives_and_frames_do_not_mix(Link& link) {
  for (std::uint32_t turn = 0; turn < 10; ++turn) {
    for (std::uint32_t to = 0; to < link.size(); ++to) {
      if (to != link.rank()) link.send(to, marked(link.rank(), to, turn, 64));
    }
    const auto all = link.allgather(marked(link.rank(), 0, turn, 100));
    for (std::uint32_t rank = 0; rank < all.size(); ++rank) CHECK(all[rank] == marked(rank, 0, turn, 100));
  }
  std::vector<std::uint32_t> met(link.size(), 0);
  for (std::uint32_t i = 0; i < 10 * (link.size() - 1); ++i) {
    const auto frame = receive(link);
    CHECK(frame.has_value());
    if (!frame) break;
    CHECK(frame->bytes == marked(frame->from, link.rank(), met[frame->from]++, 64));
  }
  barrier(link);
}

void sums_are_equal_on_all_ranks(Link& link) {
  std::vector<double> values{0.1 * (link.rank() + 1), 1e16, -1.0 / (link.rank() + 3)};
  sum_over_ranks(link, values);
  double first = 0;
  for (std::uint32_t rank = 0; rank < link.size(); ++rank) first += 0.1 * (rank + 1);
  CHECK(values[0] == doctest::Approx(first));
  Bytes mine(values.size() * sizeof(double));
  std::memcpy(mine.data(), values.data(), mine.size());
  const Bytes copy = mine;
  for (const Bytes& theirs : link.allgather(std::move(mine))) CHECK(theirs == copy);
  std::vector<std::uint64_t> counts{link.rank() + 1ULL};
  sum_over_ranks(link, counts);
  CHECK(counts[0] == link.size() * (link.size() + 1ULL) / 2);
}

void bad_input_on_one_rank_is_bad_input_on_all(Link& link) {
  agree_on_input(link, "");
  const std::uint32_t last = link.size() - 1;
  const std::string said = link.size() == 1 ? "X is empty" : "rank " + std::to_string(last) + ": X is empty";
  CHECK_THROWS_WITH_AS(agree_on_input(link, link.rank() == last ? "X is empty" : ""), said.c_str(), InvalidArgument);
}

void an_exception_on_one_rank_is_met_on_all(Link& link) {
  agree_on_error(link, nullptr);
  const std::uint32_t last = link.size() - 1;
  const bool mine = link.rank() == last;
  const auto agree = [&](auto error) { agree_on_error(link, mine ? std::make_exception_ptr(error) : nullptr); };
  const std::string who = "rank " + std::to_string(last);
  const std::string bad = mine ? "X is empty" : who + ": X is empty";
  CHECK_THROWS_WITH_AS(agree(InvalidArgument("X is empty")), bad.c_str(), InvalidArgument);
  if (mine) {
    CHECK_THROWS_AS(agree(std::bad_alloc()), std::bad_alloc);
    return;
  }
  try {
    agree(std::bad_alloc());
    CHECK_MESSAGE(false, "an exception was met on one rank only");
  } catch (const ClusterError& error) {
    CHECK(error.rank() == static_cast<int>(last));
    CHECK(std::string(error.what()).starts_with(who + " failed: "));
  }
}

void a_silent_rank_is_named(Link& link) {
  if (link.size() == 1) return;
  barrier(link);
  const std::uint32_t silent = link.size() - 1;
  if (link.rank() == silent) {
    std::this_thread::sleep_for(std::chrono::duration<double>(2.5 * link.timeout()));
    return;
  }
  try {
    barrier(link);
    CHECK_MESSAGE(false, "a collective without all its ranks came back");
  } catch (const ClusterError& error) {
    CHECK(error.rank() == static_cast<int>(silent));
    CHECK(std::string(error.what()).find("rank " + std::to_string(silent)) != std::string::npos);
  }
}

}  // namespace steppe::test
