#pragma once

#include <cstdint>
#include <vector>

namespace steppe {

// What both forms of latent Dirichlet allocation are told: documents and words by turns, and batches of documents.

struct TopicPriors {
  std::vector<double> of_documents;  // alpha, by topic
  std::vector<double> of_words;      // eta, by word
  double words_total = 0;            // their sum
};

enum class TopicInference : std::uint8_t { mean_field, collapsed };

struct TopicSettings {
  std::uint32_t n_topics = 10;
  std::uint32_t kept = 0;  // topics an entry keeps; 0: all
  TopicInference inference = TopicInference::mean_field;
  std::uint64_t seed = 0;
};

// lambda - eta (words x topics) of a model to start from. `adds`: the documents come on top of those that it was made
// from, which keep what they gave.
struct TopicStart {
  std::vector<double> counts;
  bool adds = false;
};

}  // namespace steppe
