#pragma once

#include <atomic>
#include <cstdint>

#include "steppe/core/aligned.hpp"

namespace steppe {

// Many producers, one consumer, no allocation: nodes carry their own link (`Node* next`), so a push is one
// compare-and-swap and a token costs nothing to queue. Producers stack nodes on `head_`; the consumer takes the whole
// stack with one exchange (hence no ABA) and turns it round, which keeps the order of each producer.
template <class Node>
class Inbox {
 public:
  Inbox() = default;
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // Any thread. The node belongs to the inbox until it is popped.
  void push(Node* node) noexcept {
    load_.store(load_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    Node* head = head_.load(std::memory_order_relaxed);
    do {
      node->next = head;
    } while (!head_.compare_exchange_weak(head, node, std::memory_order_release, std::memory_order_relaxed));
    // Only a push onto an empty stack can end a wait: the consumer sleeps on nothing else.
    if (head == nullptr) head_.notify_one();
  }

  // The consumer only. Null when there is nothing.
  Node* try_pop() noexcept {
    if (ready_ == nullptr) refill();
    if (ready_ == nullptr) return nullptr;
    Node* node = ready_;
    ready_ = node->next;
    load_.store(load_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    return node;
  }

  // The consumer only. Sleeps until a node comes; whoever wants to end the wait pushes one.
  Node* pop() noexcept {
    for (int attempt = 0; attempt < kPollsBeforeSleep; ++attempt) {
      if (Node* node = try_pop()) return node;
    }
    for (;;) {
      head_.wait(nullptr, std::memory_order_relaxed);
      if (Node* node = try_pop()) return node;
    }
  }

  // How long the queue is, roughly: a hint for routing. Updates that race may be lost, and the estimate is put right
  // whenever the queue is seen empty.
  std::int32_t load() const noexcept { return load_.load(std::memory_order_relaxed); }

 private:
  static constexpr int kPollsBeforeSleep = 100;

  void refill() noexcept {
    if (head_.load(std::memory_order_relaxed) == nullptr) {
      load_.store(0, std::memory_order_relaxed);
      return;
    }
    Node* stack = head_.exchange(nullptr, std::memory_order_acquire);
    while (stack != nullptr) {
      Node* below = stack->next;
      stack->next = ready_;
      ready_ = stack;
      stack = below;
    }
  }

  // Producers and the consumer write different lines.
  alignas(kCacheLine) std::atomic<Node*> head_{nullptr};
  alignas(kCacheLine) std::atomic<std::int32_t> load_{0};
  alignas(kCacheLine) Node* ready_ = nullptr;
};

}  // namespace steppe
