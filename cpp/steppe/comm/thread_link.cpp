#include "steppe/comm/thread_link.hpp"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>

#include "steppe/core/errors.hpp"

namespace steppe {
namespace {

// One allgather under way. A fast rank may already put its bytes for the next one while a slow rank still reads this
// one, so contributions queue up by rank and a round is complete when every queue has one.
struct Group {
  Group(std::uint32_t size, double seconds)
      : inboxes(size), contributions(size), reads(size, 0), alive(size, true), timeout(seconds) {}

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::deque<Frame>> inboxes;
  std::vector<std::deque<Bytes>> contributions;  // from round `first_round` on
  std::vector<std::uint64_t> reads;              // rounds each rank has read
  std::vector<bool> alive;
  std::uint64_t first_round = 0;
  double timeout;
};

class ThreadLink final : public Link {
 public:
  ThreadLink(std::shared_ptr<Group> group, std::uint32_t rank) : group_(std::move(group)), rank_(rank) {}

  ~ThreadLink() override {
    const std::lock_guard lock(group_->mutex);
    group_->alive[rank_] = false;
    group_->changed.notify_all();
  }

  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return static_cast<std::uint32_t>(group_->inboxes.size()); }
  double timeout() const override { return group_->timeout; }

  void send(std::uint32_t to, Bytes bytes) override {
    invariant(to != rank_ && to < size(), "a frame was sent to a rank that cannot receive it");
    const std::lock_guard lock(group_->mutex);
    group_->inboxes[to].push_back({rank_, std::move(bytes)});
  }

  std::optional<Frame> try_receive() override {
    const std::lock_guard lock(group_->mutex);
    auto& inbox = group_->inboxes[rank_];
    if (inbox.empty()) return std::nullopt;
    Frame frame = std::move(inbox.front());
    inbox.pop_front();
    return frame;
  }

  std::vector<Bytes> allgather(Bytes mine) override {
    std::unique_lock lock(group_->mutex);
    group_->contributions[rank_].push_back(std::move(mine));
    group_->changed.notify_all();
    wait_for_all(lock);
    std::vector<Bytes> all;
    for (const auto& queue : group_->contributions) all.push_back(queue[my_slot()]);
    ++group_->reads[rank_];
    forget_read_rounds();
    return all;
  }

 private:
  // Where this rank's round stands in the queues; it moves forward as slower ranks finish reading earlier rounds.
  std::size_t my_slot() const { return group_->reads[rank_] - group_->first_round; }

  void wait_for_all(std::unique_lock<std::mutex>& lock) {
    const auto missing = [&] {
      return std::find_if(group_->contributions.begin(), group_->contributions.end(),
                          [&](const auto& queue) { return queue.size() <= my_slot(); });
    };
    const auto missing_rank = [&] { return static_cast<int>(missing() - group_->contributions.begin()); };
    const auto complete = [&] { return missing() == group_->contributions.end(); };
    const auto hopeless = [&] { return !complete() && !group_->alive[static_cast<std::size_t>(missing_rank())]; };
    const bool woken = group_->changed.wait_for(lock, std::chrono::duration<double>(group_->timeout),
                                                [&] { return complete() || hopeless(); });
    if (complete()) return;
    const std::string who = "rank " + std::to_string(missing_rank());
    throw ClusterError(missing_rank(), woken ? who + " left while others waited for it in a collective"
                                             : who + " stayed silent in a collective beyond the time-out");
  }

  void forget_read_rounds() {
    while (*std::min_element(group_->reads.begin(), group_->reads.end()) > group_->first_round) {
      for (auto& queue : group_->contributions) queue.pop_front();
      ++group_->first_round;
    }
  }

  std::shared_ptr<Group> group_;
  std::uint32_t rank_;
};

}  // namespace

std::vector<std::unique_ptr<Link>> make_thread_links(std::uint32_t size, double timeout_seconds) {
  require(size > 0, "a group of links needs at least one rank");
  const auto group = std::make_shared<Group>(size, timeout_seconds);
  std::vector<std::unique_ptr<Link>> links;
  for (std::uint32_t rank = 0; rank < size; ++rank) links.push_back(std::make_unique<ThreadLink>(group, rank));
  return links;
}

}  // namespace steppe
