#include <benchmark/benchmark.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "steppe/runtime/inbox.hpp"
#include "steppe/runtime/team.hpp"

#if __has_include(<concurrentqueue/blockingconcurrentqueue.h>)
#include <concurrentqueue/blockingconcurrentqueue.h>
#define HAVE_CONCURRENT_QUEUE 1
#else
#define HAVE_CONCURRENT_QUEUE 0
#endif
#if __has_include(<readerwriterqueue/readerwriterqueue.h>)
#include <readerwriterqueue/readerwriterqueue.h>
#define HAVE_READER_WRITER_QUEUE 1
#else
#define HAVE_READER_WRITER_QUEUE 0
#endif

// Tokens that circulate: each worker pops a token from its own queue and pushes it to another worker's that the token
// chooses, which is what a nomad worker does between two visits. Goal: the inbox makes twice the hops a second of
// moodycamel's ConcurrentQueue in its best use (a queue per worker, a producer token for each pair, a consumer token).
//
// Every variant waits alike: it polls, then yields. The ones that sleep say so; they are a pair of their own. Workers
// are tied to cores, in turn: two workers on one core measure how fast the kernel switches between them.
namespace {

constexpr std::uint32_t kTokensPerWorker = 64;
constexpr std::uint32_t kHops = 2000;  // of each token in one iteration
constexpr int kPollsBeforeYield = 100;

struct alignas(64) Token {
  Token* next = nullptr;
  std::uint32_t hops = 0;
  std::uint32_t tour = 0;  // its own sequence of workers
  bool wake = false;

  // Another worker, if there is one.
  std::uint32_t next_worker(std::uint32_t worker, std::uint32_t n_workers) {
    if (n_workers == 1) return 0;
    tour = tour * 1664525u + 1013904223u;
    const std::uint32_t step = 1 + static_cast<std::uint32_t>((std::uint64_t{tour} * (n_workers - 1)) >> 32);
    return worker + step < n_workers ? worker + step : worker + step - n_workers;
  }
};

// --- one class for each way to queue: push(from, to, token), pop(worker) or null ---

class Inboxes {
 public:
  explicit Inboxes(std::uint32_t n) : inboxes_(n) {}
  void push(std::uint32_t, std::uint32_t to, Token* token) { inboxes_[to].push(token); }
  Token* pop(std::uint32_t worker) { return inboxes_[worker].try_pop(); }

 protected:
  std::deque<steppe::Inbox<Token>> inboxes_;
};

class SleepingInboxes : public Inboxes {
 public:
  using Inboxes::Inboxes;
  Token* pop(std::uint32_t worker) { return inboxes_[worker].pop(); }
};

#if HAVE_CONCURRENT_QUEUE

template <class Queue>
class Moodycamel {
 public:
  explicit Moodycamel(std::uint32_t n) : queues_(n), desks_(n) {
    for (std::uint32_t worker = 0; worker < n; ++worker) {
      desks_[worker].consumer = std::make_unique<moodycamel::ConsumerToken>(queues_[worker]);
      for (Queue& queue : queues_) desks_[worker].producers.emplace_back(queue);
    }
  }
  void push(std::uint32_t from, std::uint32_t to, Token* token) {
    queues_[to].enqueue(desks_[from].producers[to], token);
  }

 protected:
  struct alignas(64) Desk {
    std::unique_ptr<moodycamel::ConsumerToken> consumer;
    std::vector<moodycamel::ProducerToken> producers;
    std::array<Token*, 32> taken;
    std::size_t n_taken = 0, next = 0;
  };
  std::deque<Queue> queues_;
  std::vector<Desk> desks_;
};

using ConcurrentQueue = moodycamel::ConcurrentQueue<Token*>;

class OneByOne : public Moodycamel<ConcurrentQueue> {
 public:
  using Moodycamel::Moodycamel;
  Token* pop(std::uint32_t worker) {
    Token* token = nullptr;
    queues_[worker].try_dequeue(*desks_[worker].consumer, token);
    return token;
  }
};

// Tokens without producer tokens: what a first attempt looks like.
class WithoutTokens : public OneByOne {
 public:
  using OneByOne::OneByOne;
  void push(std::uint32_t, std::uint32_t to, Token* token) { queues_[to].enqueue(token); }
  Token* pop(std::uint32_t worker) {
    Token* token = nullptr;
    queues_[worker].try_dequeue(token);
    return token;
  }
};

// Takes up to 32 at a time, as the inbox takes all. A token is pushed as soon as it was visited, so pushes stay single.
class InBulk : public Moodycamel<ConcurrentQueue> {
 public:
  using Moodycamel::Moodycamel;
  Token* pop(std::uint32_t worker) {
    Desk& desk = desks_[worker];
    if (desk.next == desk.n_taken) {
      desk.next = 0;
      desk.n_taken = queues_[worker].try_dequeue_bulk(*desk.consumer, desk.taken.begin(), desk.taken.size());
      if (desk.n_taken == 0) return nullptr;
    }
    return desk.taken[desk.next++];
  }
};

class Sleeping : public Moodycamel<moodycamel::BlockingConcurrentQueue<Token*>> {
 public:
  using Moodycamel::Moodycamel;
  Token* pop(std::uint32_t worker) {
    Token* token = nullptr;
    queues_[worker].wait_dequeue(*desks_[worker].consumer, token);
    return token;
  }
};

#endif

#if HAVE_READER_WRITER_QUEUE

// moodycamel's queue for one producer and one consumer, one for each pair of workers; a worker polls its row of them.
class PairQueues {
 public:
  explicit PairQueues(std::uint32_t n) : n_(n), turns_(n) {
    for (std::uint32_t pair = 0; pair < n * n; ++pair) queues_.emplace_back(n * kTokensPerWorker + 1);
  }
  void push(std::uint32_t from, std::uint32_t to, Token* token) { queues_[to * n_ + from].enqueue(token); }
  Token* pop(std::uint32_t worker) {
    Token* token = nullptr;
    std::uint32_t& turn = turns_[worker].from;
    for (std::uint32_t tried = 0; tried < n_; ++tried) {
      if (queues_[worker * n_ + turn].try_dequeue(token)) return token;
      turn = turn + 1 == n_ ? 0 : turn + 1;
    }
    return nullptr;
  }

 private:
  struct alignas(64) Turn {
    std::uint32_t from = 0;
  };
  std::uint32_t n_;
  std::deque<moodycamel::ReaderWriterQueue<Token*>> queues_;
  std::vector<Turn> turns_;
};

#endif

// --- the circulation ---

const cpu_set_t& allowed_cores() {
  static const cpu_set_t allowed = [] {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    sched_getaffinity(0, sizeof cores, &cores);
    return cores;
  }();
  return allowed;
}

void tie_to_core(std::uint32_t worker) {
  const int wanted = static_cast<int>(worker) % CPU_COUNT(&allowed_cores());
  int core = -1;
  for (int seen = -1; seen < wanted;) seen += CPU_ISSET(++core, &allowed_cores()) ? 1 : 0;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  sched_setaffinity(0, sizeof one, &one);
}

template <class Queues>
class Circulation {
 public:
  explicit Circulation(std::uint32_t n_workers)
      : n_workers_(n_workers), queues_(n_workers), tokens_(n_workers * kTokensPerWorker), wakes_(n_workers) {
    for (Token& wake : wakes_) wake.wake = true;
  }

  void start() {
    left_.store(static_cast<std::uint32_t>(tokens_.size()), std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < tokens_.size(); ++i) {
      tokens_[i].hops = kHops;
      tokens_[i].tour = i * 2654435761u;
      queues_.push(0, i % n_workers_, &tokens_[i]);
    }
  }

  void work(std::uint32_t worker) {
    for (;;) {
      Token* token = next(worker);
      if (token->wake) return;
      if (--token->hops > 0) {
        queues_.push(worker, token->next_worker(worker, n_workers_), token);
      } else if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        for (std::uint32_t other = 0; other < n_workers_; ++other) queues_.push(worker, other, &wakes_[other]);
      }
    }
  }

 private:
  Token* next(std::uint32_t worker) {
    for (int attempt = 1;; ++attempt) {
      if (Token* token = queues_.pop(worker)) return token;
      if (attempt % kPollsBeforeYield == 0) std::this_thread::yield();
    }
  }

  std::uint32_t n_workers_;
  Queues queues_;
  std::vector<Token> tokens_, wakes_;
  alignas(64) std::atomic<std::uint32_t> left_{0};
};

template <class Queues>
void circulate(benchmark::State& state) {
  const auto n_workers = static_cast<std::uint32_t>(state.range(0));
  Circulation<Queues> circulation(n_workers);
  steppe::Team team(n_workers);
  allowed_cores();
  if (n_workers > 1) team.run(tie_to_core);
  for (auto _ : state) {
    circulation.start();
    team.run([&](std::uint32_t worker) { circulation.work(worker); });
  }
  state.SetItemsProcessed(state.iterations() * n_workers * kTokensPerWorker * kHops);
}

#define CIRCULATE(Queues) \
  BENCHMARK(circulate<Queues>)->Arg(1)->Arg(2)->Arg(4)->UseRealTime()->Unit(benchmark::kMillisecond)

CIRCULATE(Inboxes);
#if HAVE_CONCURRENT_QUEUE
CIRCULATE(OneByOne);
CIRCULATE(InBulk);
CIRCULATE(WithoutTokens);
#endif
#if HAVE_READER_WRITER_QUEUE
CIRCULATE(PairQueues);
#endif
CIRCULATE(SleepingInboxes);
#if HAVE_CONCURRENT_QUEUE
CIRCULATE(Sleeping);
#endif

}  // namespace
