// Runs a real sentence encoder from tensors that sluice loaded: minilm_consumer <model folder>. The cosines are those
// that the model's public quick start gives, so names, shapes and bytes are proven by use. Exit status 1 if one is off.
#include <array>
#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <numeric>
#include <sluice/sluice.hpp>

#include "encoder.hpp"
#include "tokenizer.hpp"

namespace {

constexpr std::array sentences = {"The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."};

struct Expectation {
  std::size_t left;
  std::size_t right;
  double cosine;
};
constexpr std::array<Expectation, 3> expectations = {{{0, 1, 0.6660}, {0, 2, 0.1046}, {1, 2, 0.1411}}};
constexpr double tolerance = 1e-3;

int run(const std::filesystem::path& model) {
  sluice::Engine engine;
  sluice::Request request;
  request.add("*").cast(sluice::f32);  // whatever the checkpoint was saved as
  const Encoder encoder(engine.start(sluice::make_plan(sluice::Checkpoint::open(model), request)));
  const Tokenizer tokenizer(model / "vocab.txt");

  std::array<Encoder::Embedding, sentences.size()> embeddings;
  for (std::size_t i = 0; i < sentences.size(); ++i) embeddings[i] = encoder.embed(tokenizer.tokens(sentences[i]));

  bool right = true;
  for (const auto& [left, other, expected] : expectations) {
    const auto& a = embeddings[left];
    const auto& b = embeddings[other];
    const double cosine = std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
    const bool close = std::abs(cosine - expected) <= tolerance;
    std::printf("%.4f  %s (%.4f expected)  \"%s\" / \"%s\"\n", cosine, close ? "right" : "WRONG", expected,
                sentences[left], sentences[other]);
    right = right && close;
  }
  return right ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: minilm_consumer MODEL_FOLDER\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
