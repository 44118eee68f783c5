// Encoder: MiniLM-L6, a BERT of 6 layers, 384 wide, with 12 heads, on the CPU, straight from the tensors that sluice
// loaded. Written to be read rather than to be fast. Immutable, safe to use from any thread.
#pragma once

#include <array>
#include <sluice/sluice.hpp>
#include <string>
#include <vector>

class Encoder {
 public:
  static constexpr std::size_t width = 384;
  static constexpr std::size_t inner_width = 1536;
  static constexpr std::size_t heads = 12;
  static constexpr std::size_t layers = 6;
  static constexpr std::size_t positions = 512;

  using Embedding = std::array<float, width>;

  /// Keeps `load` and with it the weights; waits for each. Throws sluice::Error, and std::runtime_error for a tensor of
  /// another dtype or shape.
  explicit Encoder(sluice::Load load);

  /// The meaning of a sentence as a vector of length 1. At most `positions` tokens.
  Embedding embed(const std::vector<int>& tokens) const;

 private:
  /// y = x * weight^T + bias, row by row.
  struct Dense {
    const float* weight;
    const float* bias;
    std::size_t in;
    std::size_t out;
  };
  struct Norm {
    const float* weight;
    const float* bias;
  };
  struct Layer {
    Dense query, key, value, attention_output, intermediate, output;
    Norm attention_norm, output_norm;
  };

  const float* floats(const std::string& name, const std::vector<std::uint64_t>& shape) const;
  Dense dense(const std::string& name, std::size_t in, std::size_t out) const;
  Norm norm(const std::string& name) const;

  static std::vector<float> apply(const Dense& dense, const std::vector<float>& rows);
  static void add_and_normalise(std::vector<float>& rows, const std::vector<float>& added, const Norm& norm);
  static std::vector<float> attend(const Layer& layer, const std::vector<float>& rows);

  sluice::Load load_;
  std::uint64_t vocabulary_size_ = 0;
  const float* word_embeddings_ = nullptr;
  const float* position_embeddings_ = nullptr;
  const float* type_embeddings_ = nullptr;
  Norm embedding_norm_ = {};
  std::vector<Layer> layers_;
};
