#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "steppe/comm/link.hpp"
#include "steppe/core/views.hpp"
#include "steppe/models/fit_session.hpp"
#include "steppe/schedules/rank_state.hpp"

namespace steppe {

struct LatentDirichletParams {
  std::string inference = "vb";  // or "cvb0"
  std::uint32_t n_topics = 10;
  std::uint32_t kept = 0;                // topics that an entry keeps; 0: all
  std::vector<double> doc_topic_prior;   // by topic
  std::vector<double> topic_word_prior;  // by word
  std::string schedule = "serial";
  std::uint32_t n_threads = 1;
  std::uint64_t seed = 0;
  bool record = false;              // keep what a replay needs
  std::uint32_t n_shards = 0;       // under bsp: shards of this rank, which fix the result; 0: one a thread
  std::uint32_t n_sweeps = 1;       // passes in each round of the session
  std::uint64_t batch_rows = 1024;  // under svi: documents of a step over all ranks, and its rate
  double learning_decay = 0.7, learning_offset = 10;
};

// Where a fit starts if not from nothing: lambda - eta, topics x words, of an earlier model. Needed for the call only.
struct LatentDirichletStart {
  MatrixView<const double> counts;
  bool adds = false;  // the documents come on top of those of the earlier model
};

// Collective. A fit of this rank's documents; the columns of `documents` are the words, the same on every rank. The
// link must outlive the session, the documents need not.
//
// result: components (topics, words) = lambda, whole on every rank.
template <class T>
std::unique_ptr<FitSession> make_latent_dirichlet(const LatentDirichletParams& params, CsrView<T> documents,
                                                  const LatentDirichletStart* start, Link& link);

}  // namespace steppe
