#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "steppe/core/aligned.hpp"

namespace steppe {

// Many producers, one consumer, no allocation: nodes carry their own link (`Node* next`), so a token costs nothing to
// queue. A queue of links (after Vyukov): a producer swaps itself in as the last node, which is wait-free, and then
// links its predecessor to itself; the consumer follows the links. The order of each producer is kept. Between the two
// steps of a push the nodes behind it are out of the consumer's reach, for as long as that producer is held up.
template <class Node>
class Inbox {
 public:
  Inbox() = default;
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // Any thread. The node belongs to the inbox until it is popped.
  void push(Node* node) noexcept {
    link(node).store(nullptr, std::memory_order_relaxed);
    Node* const previous = last_.exchange(node, std::memory_order_seq_cst);
    pushed_.store(pushed_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (previous == nullptr) {
      first_.store(node, std::memory_order_release);
    } else {
      link(previous).store(node, std::memory_order_release);
    }
    // Either this sees the consumer's mark, or the consumer, which marks before it looks, sees the swap above.
    if (asleep_.load(std::memory_order_seq_cst) != 0 && asleep_.exchange(0) != 0) asleep_.notify_one();
  }

  // The consumer only. Null when there is nothing, or nothing that is linked yet.
  Node* try_pop() noexcept {
    if (front_ == nullptr && !open()) return nullptr;
    Node* const node = front_;
    Node* const next = link(node).load(std::memory_order_acquire);
    if (next == nullptr) return take_last(node) ? node : nullptr;
    __builtin_prefetch(next, 1);  // written by another core: its way here is longer than a hop
    front_ = next;
    popped_.store(popped_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return node;
  }

  // The consumer only. Sleeps until a node comes; whoever wants to end the wait pushes one.
  Node* pop() noexcept {
    for (int attempt = 0; attempt < kPollsBeforeSleep; ++attempt) {
      if (Node* node = try_pop()) return node;
    }
    for (;;) {
      asleep_.store(1, std::memory_order_seq_cst);
      const bool pushed = last_.load(std::memory_order_seq_cst) != nullptr;
      if (!pushed) asleep_.wait(1, std::memory_order_relaxed);
      asleep_.store(0, std::memory_order_relaxed);
      if (Node* node = try_pop()) return node;
      if (pushed) std::this_thread::yield();  // its producer has not linked it yet
    }
  }

  // How long the queue is, roughly: a hint for routing. Counts of racing producers may be lost, and the estimate is put
  // right whenever the queue is seen empty.
  std::int32_t load() const noexcept {
    return static_cast<std::int32_t>(pushed_.load(std::memory_order_relaxed) - popped_.load(std::memory_order_relaxed));
  }

 private:
  static constexpr int kPollsBeforeSleep = 100;

  static std::atomic_ref<Node*> link(Node* node) noexcept { return std::atomic_ref<Node*>(node->next); }

  // Looks for the first node of an empty queue.
  bool open() noexcept {
    front_ = first_.load(std::memory_order_acquire);
    if (front_ == nullptr) return false;
    first_.store(nullptr, std::memory_order_relaxed);  // nobody else writes here until the queue has run empty
    return true;
  }

  // The node seems to be the last: the queue is empty without it, unless a push is under way.
  bool take_last(Node* node) noexcept {
    if (!last_.compare_exchange_strong(node, nullptr, std::memory_order_acq_rel, std::memory_order_relaxed))
      return false;
    front_ = nullptr;
    popped_.store(pushed_.load(std::memory_order_relaxed), std::memory_order_relaxed);  // all pushes are complete
    return true;
  }

  // Producers and the consumer write different lines.
  alignas(kCacheLine) std::atomic<Node*> last_{nullptr};
  std::atomic<std::uint32_t> pushed_{0};
  std::atomic<std::uint32_t> asleep_{0};  // written by the consumer only when it has nothing to do
  alignas(kCacheLine) Node* front_ = nullptr;
  std::atomic<Node*> first_{nullptr};  // the link to the first node of an empty queue
  std::atomic<std::uint32_t> popped_{0};
};

}  // namespace steppe
