#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "steppe/core/errors.hpp"
#include "steppe/runtime/team.hpp"

TEST_CASE("every member runs each job once, and the team takes job after job") {
  for (const std::uint32_t size : {1u, 2u, 5u}) {
    steppe::Team team(size);
    std::vector<int> runs(size, 0);
    for (int job = 0; job < 100; ++job) team.run([&](std::uint32_t member) { ++runs[member]; });
    for (const int count : runs) CHECK(count == 100);
  }
}

TEST_CASE("the first exception is kept, the team stays usable") {
  for (const std::uint32_t size : {1u, 3u}) {
    steppe::Team team(size);
    CHECK_THROWS_WITH_AS(team.run([](std::uint32_t) { throw std::runtime_error("a member failed"); }),
                         "a member failed", std::runtime_error);
    std::atomic<std::uint32_t> runs = 0;
    team.run([&](std::uint32_t) { ++runs; });
    CHECK(runs == size);
  }
}

TEST_CASE("parallel_for covers every index once, whatever the grain") {
  for (const std::uint32_t size : {1u, 4u}) {
    steppe::Team team(size);
    for (const std::size_t n : {0u, 1u, 7u, 1000u}) {
      for (const std::size_t grain : {0u, 1u, 3u, 5000u}) {
        std::vector<std::atomic<int>> seen(n);
        team.parallel_for(n, grain, [&](std::size_t begin, std::size_t end, std::uint32_t) {
          for (std::size_t i = begin; i < end; ++i) ++seen[i];
        });
        for (const auto& count : seen) CHECK(count == 1);
      }
    }
  }
}

TEST_CASE("the calling thread polls while a job runs, and its stop reaches the job") {
  struct StopAtOnce : steppe::Control {
    bool poll() override { return true; }
  } control;
  steppe::Team team(2);
  std::atomic<bool> stop = false;
  const bool stopped = team.run(
      [&](std::uint32_t) {
        while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      },
      control, [&] { stop = true; });
  CHECK(stopped);
}

TEST_CASE("a poll that fails ends the job before its exception leaves") {
  struct Failing : steppe::Control {
    bool poll() override { throw std::runtime_error("the poll failed"); }
  } control;
  steppe::Team team(2);
  std::atomic<bool> stop = false;
  std::atomic<int> ended = 0;
  const auto job = [&](std::uint32_t) {
    while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ++ended;
  };
  CHECK_THROWS_WITH_AS(team.run(job, control, [&] { stop = true; }), "the poll failed", std::runtime_error);
  CHECK(ended == 2);
}

TEST_CASE("a polled parallel_for covers every index, or leaves out what had not begun when it was stopped") {
  struct Stop : steppe::Control {
    bool now = false;
    bool poll() override { return now; }
  } control;
  for (const std::uint32_t size : {1u, 3u}) {
    steppe::Team team(size);
    steppe::Pacer pacer(control);
    control.now = false;
    std::vector<std::atomic<int>> seen(1000);
    const auto visit = [&](std::size_t begin, std::size_t end, std::uint32_t) {
      for (std::size_t i = begin; i < end; ++i) ++seen[i];
    };
    CHECK_FALSE(team.parallel_for(seen.size(), 7, pacer, visit));
    for (const auto& count : seen) CHECK(count == 1);

    control.now = true;
    const auto wait_for_the_stop = [&](std::size_t, std::size_t, std::uint32_t member) {
      while (member == 0 && !pacer.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    CHECK(team.parallel_for(std::size_t{1} << 60, 1, pacer, wait_for_the_stop));
    CHECK(team.parallel_for(seen.size(), 7, pacer, visit));
    for (const auto& count : seen) CHECK(count == 1);
  }
}

TEST_CASE("a team of nobody is refused") { CHECK_THROWS_AS(steppe::Team(0), steppe::InvalidArgument); }
