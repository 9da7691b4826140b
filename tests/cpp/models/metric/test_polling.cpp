#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "steppe/models/metric/polling.hpp"

using namespace steppe;

namespace {

// Asks for a stop at the n-th poll.
struct StopAt final : Control {
  explicit StopAt(int n) : left(n) {}
  bool poll() override { return --left <= 0; }
  int left;
};

}  // namespace

TEST_CASE("a job apart ends, and its exception is met by the caller") {
  Control nobody;
  Pacer pacer(nobody);
  int done = 0;
  CHECK(run_apart([&] { ++done; }, pacer));
  CHECK(done == 1);
  CHECK_THROWS_AS(run_apart([] { throw std::runtime_error("met"); }, pacer), std::runtime_error);
}

TEST_CASE("a stop leaves a job apart to itself, which keeps what it owns") {
  StopAt control(1);
  Pacer pacer(control);
  std::promise<void> gate;
  const auto opened = gate.get_future().share();
  const auto sum = std::make_shared<std::promise<int>>();
  auto result = sum->get_future();
  auto owned = std::make_shared<std::vector<int>>(100, 1);
  CHECK_FALSE(run_apart(
      [opened, sum, owned] {
        opened.wait();
        sum->set_value(static_cast<int>(owned->size()));
      },
      pacer));
  owned.reset();
  gate.set_value();
  CHECK(result.get() == 100);
}

TEST_CASE("all pieces are worked on, or Stopped is thrown") {
  for (const std::uint32_t threads : {1, 3}) {
    Team team(threads);
    Control nobody;
    Pacer undisturbed(nobody);
    for (Pacer* const pacer : {&undisturbed, static_cast<Pacer*>(nullptr)}) {
      std::vector<int> met(50, 0);
      for_each_piece(team, met.size(), pacer, [&](std::size_t i) { ++met[i]; });
      CHECK(met == std::vector<int>(50, 1));
    }
    StopAt control(1);
    Pacer pacer(control);
    std::atomic<std::size_t> pieces = 0;
    const auto forever = [&] {
      for_each_piece(team, std::size_t{1} << 40, &pacer, [&](std::size_t) {
        ++pieces;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      });
    };
    CHECK_THROWS_AS(forever(), Stopped);
    CHECK(pieces > 0);
  }
}
