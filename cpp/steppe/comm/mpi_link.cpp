// The only file that includes mpi.h: another MPI, or another ABI, is a rebuild of this file.
#include "steppe/comm/mpi_link.hpp"

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <deque>
#include <thread>
#include <type_traits>
#include <utility>

#include "steppe/comm/mpi_libraries.hpp"
#include "steppe/core/errors.hpp"

namespace steppe {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr int kFrameTag = 0;     // one tag for all frames: MPI keeps their order for each pair of ranks
constexpr int kPresenceTag = 1;  // "I wait in collective n", see Attendance
constexpr std::size_t kMaxIncoming = 64;
constexpr std::size_t kReapLooks = 8;
constexpr double kGoodbyeSeconds = 5;  // how long a destructor waits for frames still on their way

void check(int code, const std::string& operation, int rank = -1) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  const std::string peer = rank < 0 ? "" : " with rank " + std::to_string(rank);
  throw ClusterError(rank, operation + peer + " failed: " + std::string(text, static_cast<std::size_t>(length)));
}

// Between an MPI_Comm, which is an int in MPICH and a pointer elsewhere, and the integer that carries it.
template <class To, class From>
To convert(From value) {
  if constexpr (std::is_pointer_v<To> || std::is_pointer_v<From>) return reinterpret_cast<To>(value);
  else return static_cast<To>(value);
}

// MPI makes progress only inside its calls, so waiting is polling: at once at first, then leaving the core to others.
class Backoff {
 public:
  void pause() {
    if (++polls_ < 64) return;
    if (polls_ < 1024) std::this_thread::yield();
    else std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

 private:
  unsigned polls_ = 0;
};

bool finished(MPI_Request& request, const char* operation, int rank = -1) {
  int done = 0;
  check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), operation, rank);
  return done != 0;
}

bool finalized() {
  int flag = 0;
  MPI_Finalized(&flag);
  return flag != 0;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

void require_usable_mpi() {
  const auto libraries = loaded_mpi_libraries();
  if (libraries.size() > 1) {
    throw ClusterError(-1, "two MPI libraries are loaded into this process (" + joined(libraries) +
                               "); mpi4py and steppe must use the same one: reinstall both for one MPI");
  }
  int initialized = 0;
  MPI_Initialized(&initialized);
  if (!initialized || finalized()) {
    throw ClusterError(-1, "MPI (" + joined(libraries) + ") is " +
                               (initialized ? "already finalised" : "not initialised") +
                               "; run `from mpi4py import MPI` first, with an mpi4py of the same MPI library");
  }
  int level = MPI_THREAD_SINGLE;
  check(MPI_Query_thread(&level), "MPI_Query_thread");
  if (level < MPI_THREAD_FUNNELED) {
    throw ClusterError(-1, "MPI was initialised for one thread only; initialise it with MPI_THREAD_FUNNELED or more");
  }
}

// What MPI may still read or write after we gave up on it is kept until the process ends.
template <class T>
void abandon(std::unique_ptr<T> owned) {
  static auto* const kept = new std::vector<std::shared_ptr<void>>;
  kept->push_back(std::shared_ptr<T>(std::move(owned)));
}

// A private duplicate of the caller's communicator.
MPI_Comm duplicate(MPI_Comm original, double timeout) {
  auto made = std::make_unique<MPI_Comm>(MPI_COMM_NULL);
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Comm_idup(original, made.get(), &request), "MPI_Comm_idup");
  const auto deadline = Clock::now() + Seconds(timeout);
  for (Backoff backoff; !finished(request, "MPI_Comm_idup"); backoff.pause()) {
    if (Clock::now() < deadline) continue;
    abandon(std::move(made));
    throw ClusterError(-1, "not every rank of the communicator joined the cluster within the time-out");
  }
  check(MPI_Comm_set_errhandler(*made, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return *made;
}

// Large buffers that were sent, for frames that arrive: in a ring each rank sends one and receives one, and memory
// fresh from the system would cost more than the transfer.
class SpareBuffers {
 public:
  void give(Bytes bytes) {
    if (bytes.capacity() < kLarge) return;
    if (spare_.size() == kMost) spare_.erase(spare_.begin());
    spare_.push_back(std::move(bytes));
  }
  Bytes take(std::size_t size) {
    const auto fits = [&](const Bytes& bytes) { return bytes.capacity() >= size && bytes.capacity() / 2 <= size; };
    const auto found = std::ranges::find_if(spare_, fits);
    if (found == spare_.end()) return Bytes(size);
    Bytes bytes = std::move(*found);
    spare_.erase(found);
    bytes.resize(size);
    return bytes;
  }

 private:
  static constexpr std::size_t kLarge = std::size_t{1} << 20, kMost = 2;
  std::vector<Bytes> spare_;
};

// Sends under way, and their bytes.
class Outgoing {
 public:
  explicit Outgoing(SpareBuffers& spare) : spare_(spare) {}

  void post(MPI_Comm comm, std::uint32_t to, int tag, Bytes bytes) {
    reap();
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Isend(bytes.data(), static_cast<int>(bytes.size()), MPI_BYTE, static_cast<int>(to), tag, comm, &request),
          "MPI_Isend", static_cast<int>(to));
    pending_.push_back({request, std::move(bytes)});
  }

  // Looks at a few sends and lets go of those that have left; the others queue up again, so that one slow receiver
  // does not keep the bytes of all. True when nothing is under way.
  bool reap() {
    for (std::size_t looks = std::min(kReapLooks, pending_.size()); looks > 0; --looks) {
      Piece& oldest = pending_.front();
      if (finished(oldest.request, "MPI_Isend")) spare_.give(std::move(oldest.bytes));
      else pending_.push_back(std::move(oldest));
      pending_.pop_front();
    }
    return pending_.empty();
  }

 private:
  struct Piece {
    MPI_Request request;
    Bytes bytes;
  };
  SpareBuffers& spare_;
  std::deque<Piece> pending_;
};

// Receives under way, in the order in which MPI matched them, and frames whose last piece is still to come.
class Incoming {
 public:
  Incoming(std::uint32_t ranks, std::size_t piece_bytes, SpareBuffers& spare)
      : spare_(spare), partial_(ranks), piece_bytes_(piece_bytes) {}

  std::optional<Frame> next(MPI_Comm comm) {
    while (true) {
      if (pending_.size() < kMaxIncoming) match(comm);
      if (pending_.empty()) return std::nullopt;
      Piece& first = pending_.front();
      if (!finished(first.request, "MPI_Imrecv", static_cast<int>(first.from))) return std::nullopt;
      auto frame = join(std::move(first));
      pending_.pop_front();
      if (frame) return frame;
    }
  }

  bool settle() {
    while (!pending_.empty() && finished(pending_.front().request, "MPI_Imrecv")) pending_.pop_front();
    return pending_.empty();
  }

 private:
  struct Piece {
    MPI_Request request;
    std::uint32_t from;
    Bytes bytes;
  };

  void match(MPI_Comm comm) {
    int found = 0;
    MPI_Message message;
    MPI_Status status;
    check(MPI_Improbe(MPI_ANY_SOURCE, kFrameTag, comm, &found, &message, &status), "MPI_Improbe");
    if (!found) return;
    int size = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &size), "MPI_Get_count", status.MPI_SOURCE);
    Piece piece{MPI_REQUEST_NULL, static_cast<std::uint32_t>(status.MPI_SOURCE),
                spare_.take(static_cast<std::size_t>(size))};
    check(MPI_Imrecv(piece.bytes.data(), size, MPI_BYTE, &message, &piece.request), "MPI_Imrecv", status.MPI_SOURCE);
    pending_.push_back(std::move(piece));
  }

  // A piece of full length announces another one; the last is shorter, if need be empty.
  std::optional<Frame> join(Piece piece) {
    Bytes& partial = partial_[piece.from];
    const bool last = piece.bytes.size() < piece_bytes_;
    if (last && partial.empty()) return Frame{piece.from, std::move(piece.bytes)};
    partial.insert(partial.end(), piece.bytes.begin(), piece.bytes.end());
    if (!last) return std::nullopt;
    return Frame{piece.from, std::exchange(partial, {})};
  }

  SpareBuffers& spare_;
  std::deque<Piece> pending_;
  std::vector<Bytes> partial_;
  std::size_t piece_bytes_;
};

// Who is missing? MPI does not say. Whoever has waited in a collective for a while tells all others so, once; the rank
// from which no such word came by the time-out is the silent one. Collectives that are quick send nothing.
class Attendance {
 public:
  Attendance(std::uint32_t rank, std::uint32_t ranks) : rank_(rank), reached_(ranks, 0) {}

  void announce(MPI_Comm comm, Outgoing& outgoing, std::uint64_t collective) {
    for (std::uint32_t to = 0; to < reached_.size(); ++to) {
      if (to == rank_) continue;
      Bytes bytes(sizeof collective);
      std::memcpy(bytes.data(), &collective, sizeof collective);
      outgoing.post(comm, to, kPresenceTag, std::move(bytes));
    }
    reached_[rank_] = collective;
  }

  void listen(MPI_Comm comm) {
    while (true) {
      int found = 0;
      MPI_Message message;
      MPI_Status status;
      check(MPI_Improbe(MPI_ANY_SOURCE, kPresenceTag, comm, &found, &message, &status), "MPI_Improbe");
      if (!found) return;
      std::uint64_t collective = 0;
      check(MPI_Mrecv(&collective, sizeof collective, MPI_BYTE, &message, MPI_STATUS_IGNORE), "MPI_Mrecv");
      reached_[static_cast<std::size_t>(status.MPI_SOURCE)] = collective;
    }
  }

  // The first rank not known to have reached that collective, -1 if all have.
  int absent(std::uint64_t collective) const {
    for (std::size_t rank = 0; rank < reached_.size(); ++rank) {
      if (reached_[rank] < collective) return static_cast<int>(rank);
    }
    return -1;
  }

 private:
  std::uint32_t rank_;
  std::vector<std::uint64_t> reached_;
};

// The buffers of one non-blocking collective. MPI owns them until it is complete, hence on the heap.
struct Exchange {
  MPI_Request request = MPI_REQUEST_NULL;
  Bytes sent, received;
  std::vector<int> counts, offsets;
};

class MpiLink final : public Link {
 public:
  MpiLink(MPI_Comm comm, const MpiLinkOptions& options)
      : comm_(comm), rank_(ask(MPI_Comm_rank)), size_(ask(MPI_Comm_size)), timeout_(options.timeout_seconds),
        piece_bytes_(options.piece_bytes), outgoing_(std::make_unique<Outgoing>(spare_)),
        incoming_(std::make_unique<Incoming>(size_, options.piece_bytes, spare_)), attendance_(rank_, size_) {}

  ~MpiLink() override {
    if (finalized()) return;
    if (!broken_ && said_goodbye()) {
      MPI_Comm_free(&comm_);
      return;
    }
    abandon(std::move(outgoing_));
    abandon(std::move(incoming_));
  }

  std::uint32_t rank() const override { return rank_; }
  std::uint32_t size() const override { return size_; }
  double timeout() const override { return timeout_; }

  void send(std::uint32_t to, Bytes bytes) override {
    invariant(to != rank_ && to < size_, "a frame was sent to a rank that cannot receive it");
    if (bytes.size() < piece_bytes_) return outgoing_->post(comm_, to, kFrameTag, std::move(bytes));
    for (std::size_t first = 0; first <= bytes.size(); first += piece_bytes_) {
      const auto start = bytes.begin() + static_cast<std::ptrdiff_t>(first);
      const auto length = static_cast<std::ptrdiff_t>(std::min(piece_bytes_, bytes.size() - first));
      outgoing_->post(comm_, to, kFrameTag, Bytes(start, start + length));
    }
  }

  std::optional<Frame> try_receive() override {
    auto frame = incoming_->next(comm_);
    if (!frame) outgoing_->reap();
    return frame;
  }

  std::vector<Bytes> allgather(Bytes mine) override {
    if (size_ == 1) return one(std::move(mine));
    if (broken_) throw ClusterError(-1, "this cluster was given up after an earlier error; make a new one");
    ++collective_;
    attendance_.listen(comm_);
    const auto sizes = gather_sizes(mine.size());
    const std::uint64_t largest = *std::max_element(sizes.begin(), sizes.end());
    // Counts and offsets of one exchange are int, so all shares together must fit into one.
    const std::uint64_t share = std::min<std::uint64_t>(piece_bytes_, INT_MAX / size_);
    std::vector<Bytes> all(size_);
    for (std::uint64_t offset = 0; offset < largest; offset += share) gather_share(mine, sizes, offset, share, all);
    return all;
  }

 private:
  std::uint32_t ask(int (*question)(MPI_Comm, int*)) const {
    int answer = 0;
    check(question(comm_, &answer), "asking the communicator for rank and size");
    return static_cast<std::uint32_t>(answer);
  }

  static std::vector<Bytes> one(Bytes mine) {
    std::vector<Bytes> all;
    all.push_back(std::move(mine));
    return all;
  }

  std::vector<std::uint64_t> gather_sizes(std::uint64_t my_size) {
    std::vector<std::uint64_t> sizes(size_);
    auto exchange = std::make_unique<Exchange>();
    exchange->sent.resize(sizeof my_size);
    exchange->received.resize(size_ * sizeof my_size);
    std::memcpy(exchange->sent.data(), &my_size, sizeof my_size);
    start(MPI_Iallgather(exchange->sent.data(), sizeof my_size, MPI_BYTE, exchange->received.data(), sizeof my_size,
                         MPI_BYTE, comm_, &exchange->request),
          "MPI_Iallgather");
    exchange = complete(std::move(exchange));
    std::memcpy(sizes.data(), exchange->received.data(), exchange->received.size());
    return sizes;
  }

  // Bytes offset .. offset + share - 1 of everybody, appended to `all`.
  void gather_share(const Bytes& mine, const std::vector<std::uint64_t>& sizes, std::uint64_t offset,
                    std::uint64_t share, std::vector<Bytes>& all) {
    const auto part = [&](std::uint64_t size) { return size <= offset ? 0 : std::min(share, size - offset); };
    auto exchange = std::make_unique<Exchange>();
    int total = 0;
    for (const std::uint64_t size : sizes) {
      exchange->counts.push_back(static_cast<int>(part(size)));
      exchange->offsets.push_back(total);
      total += exchange->counts.back();
    }
    const std::uint64_t my_part = part(mine.size());
    if (my_part > 0) exchange->sent.assign(mine.data() + offset, mine.data() + offset + my_part);
    exchange->received.resize(static_cast<std::size_t>(total));
    start(MPI_Iallgatherv(exchange->sent.data(), static_cast<int>(my_part), MPI_BYTE, exchange->received.data(),
                          exchange->counts.data(), exchange->offsets.data(), MPI_BYTE, comm_, &exchange->request),
          "MPI_Iallgatherv");
    exchange = complete(std::move(exchange));
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
      const std::byte* first = exchange->received.data() + exchange->offsets[rank];
      all[rank].insert(all[rank].end(), first, first + exchange->counts[rank]);
    }
  }

  void start(int code, const char* operation) {
    broken_ = code != MPI_SUCCESS;
    check(code, operation);
  }

  // Polls until the exchange is over; beyond the time-out it names the rank that never came. Ranks announce themselves
  // after an eighth of the time-out, and two eighths beyond it are granted to words still on their way.
  std::unique_ptr<Exchange> complete(std::unique_ptr<Exchange> exchange) {
    const auto entered = Clock::now();
    const double announce_after = std::min(1.0, timeout_ / 8);
    bool announced = false;
    for (Backoff backoff; !poll(*exchange); backoff.pause()) {
      const double waited = Seconds(Clock::now() - entered).count();
      if (waited > announce_after) {
        if (!announced) attendance_.announce(comm_, *outgoing_, collective_);
        announced = true;
        attendance_.listen(comm_);
      }
      if (waited > timeout_ + 2 * announce_after) give_up(std::move(exchange));
    }
    return exchange;
  }

  bool poll(Exchange& exchange) {
    int done = 0;
    const int code = MPI_Test(&exchange.request, &done, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) broken_ = true;
    check(code, "MPI_Iallgather");
    return done != 0;
  }

  [[noreturn]] void give_up(std::unique_ptr<Exchange> exchange) {
    broken_ = true;
    abandon(std::move(exchange));
    const int absent = attendance_.absent(collective_);
    const std::string who = absent < 0 ? "a rank" : "rank " + std::to_string(absent);
    throw ClusterError(absent, who + " stayed silent in a collective beyond the time-out");
  }

  // False if frames are still under way after a while.
  bool said_goodbye() noexcept {
    try {
      const auto deadline = Clock::now() + Seconds(std::min(timeout_, kGoodbyeSeconds));
      for (Backoff backoff; !(outgoing_->reap() && incoming_->settle()); backoff.pause()) {
        if (Clock::now() > deadline) return false;
      }
      return true;
    } catch (const std::exception&) {
      return false;
    }
  }

  MPI_Comm comm_;
  std::uint32_t rank_, size_;
  double timeout_;
  std::size_t piece_bytes_;
  SpareBuffers spare_;
  std::unique_ptr<Outgoing> outgoing_;
  std::unique_ptr<Incoming> incoming_;
  Attendance attendance_;
  std::uint64_t collective_ = 0;  // number of the allgather under way
  bool broken_ = false;           // a collective failed: the ranks no longer agree on what comes next
};

}  // namespace

std::unique_ptr<Link> make_mpi_link(std::uintptr_t communicator, const MpiLinkOptions& options) {
  require(options.timeout_seconds > 0, "timeout: the seconds a rank may stay silent must be positive");
  require(options.piece_bytes > 0 && options.piece_bytes <= INT_MAX, "piece_bytes must lie between 1 and 2^31 - 1");
  require_usable_mpi();
  return std::make_unique<MpiLink>(duplicate(convert<MPI_Comm>(communicator), options.timeout_seconds), options);
}

MpiRuntime::MpiRuntime() {
  int level = MPI_THREAD_SINGLE;
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level), "MPI_Init_thread");
  check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
}

MpiRuntime::~MpiRuntime() { MPI_Finalize(); }

std::uintptr_t MpiRuntime::world() { return convert<std::uintptr_t>(MPI_COMM_WORLD); }

std::string mpi_library_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  check(MPI_Get_library_version(text, &length), "MPI_Get_library_version");
  const std::string all(text, static_cast<std::size_t>(length));
  return all.substr(0, all.find('\n'));
}

}  // namespace steppe
