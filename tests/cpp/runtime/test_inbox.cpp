#include <doctest/doctest.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "steppe/runtime/inbox.hpp"

namespace {
struct Node {
  Node* next = nullptr;
  std::uint32_t producer = 0, number = 0;
};
}  // namespace

TEST_CASE("an inbox keeps the order of each producer and loses nothing") {
  constexpr std::uint32_t kProducers = 3, kEach = 20000;
  std::vector<std::vector<Node>> nodes(kProducers, std::vector<Node>(kEach));
  steppe::Inbox<Node> inbox;
  {
    std::vector<std::jthread> producers;
    for (std::uint32_t p = 0; p < kProducers; ++p) {
      producers.emplace_back([&, p] {
        for (std::uint32_t i = 0; i < kEach; ++i) {
          nodes[p][i].producer = p;
          nodes[p][i].number = i;
          inbox.push(&nodes[p][i]);
        }
      });
    }
    std::vector<std::uint32_t> next(kProducers, 0);
    for (std::uint32_t i = 0; i < kProducers * kEach; ++i) {
      const Node* node = inbox.pop();
      REQUIRE(node->number == next[node->producer]++);
    }
  }
  CHECK(inbox.try_pop() == nullptr);
  CHECK(inbox.load() == 0);
}

TEST_CASE("tokens circulate between inboxes without loss") {
  constexpr std::uint32_t kWorkers = 4, kTokens = 64, kHops = 20000;
  std::vector<steppe::Inbox<Node>> inboxes(kWorkers);
  std::vector<Node> tokens(kTokens), stops(kWorkers);
  for (std::uint32_t t = 0; t < kTokens; ++t) inboxes[t % kWorkers].push(&tokens[t]);
  {
    std::vector<std::jthread> workers;
    for (std::uint32_t w = 0; w < kWorkers; ++w) {
      workers.emplace_back([&, w] {
        for (std::uint32_t hop = 0; hop < kHops; ++hop) {
          Node* token = inboxes[w].try_pop();
          if (token == nullptr) continue;
          ++token->number;
          inboxes[(w + 1 + token->number % (kWorkers - 1)) % kWorkers].push(token);
        }
      });
    }
  }
  std::uint32_t found = 0;
  for (auto& inbox : inboxes) {
    while (inbox.try_pop() != nullptr) ++found;
  }
  CHECK(found == kTokens);
}
