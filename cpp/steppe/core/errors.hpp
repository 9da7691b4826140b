#pragma once

#include <exception>
#include <stdexcept>
#include <string>

namespace steppe {

// The caller's input is wrong. The message names the argument, what was met, and what to do; Python sees a ValueError.
class InvalidArgument : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// A rank failed, died or stayed silent. `rank` is the one to look at, -1 if unknown.
class ClusterError : public std::runtime_error {
 public:
  ClusterError(int rank, const std::string& what) : std::runtime_error(what), rank_(rank) {}
  int rank() const noexcept { return rank_; }

 private:
  int rank_;
};

// A promise of the library itself does not hold (a lost token, a torn frame): always a bug, never the user's fault.
class InvariantViolation : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// What an exception says; nothing for none.
inline std::string describe(const std::exception_ptr& error) {
  if (!error) return {};
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    return exception.what();
  } catch (...) {
    return "an unknown exception";
  }
}

inline void require(bool condition, const char* message) {
  if (!condition) throw InvalidArgument(message);
}

inline void invariant(bool condition, const char* message) {
  if (!condition) throw InvariantViolation(message);
}

}  // namespace steppe
