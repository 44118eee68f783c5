// Weights: the parameters of a Gemma 3 on each of the ranks that compute it together (tensor parallelism). weights.cpp
// says once which elements of which tensors of a checkpoint they are made of; sluice reads them into place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <sluice/sluice.hpp>
#include <vector>

#include "config.hpp"

/// BF16, row-major, in the memory of a rank. A vector is a matrix of one row.
struct Matrix {
  const std::uint16_t* data = nullptr;  // stays nullptr where the rank is not on the host
  std::size_t rows = 0;
  std::size_t columns = 0;
};

struct LayerWeights {
  Matrix qkv;      // rows of this rank's heads: queries, then keys, then values
  Matrix output;   // columns of this rank's heads
  Matrix gate_up;  // rows of this rank's part of the gate, then of what it gates
  Matrix down;     // columns of this rank's part
  Matrix query_norm, key_norm;
  Matrix before_attention, after_attention, before_feed_forward, after_feed_forward;  // norms
};

struct RankWeights {
  // Its rows of the vocabulary, and zeros behind the last, as ranks have equally many rows. It is the head, too.
  Matrix embeddings;
  std::vector<LayerWeights> layers;
  Matrix final_norm;
};

class Weights {
 public:
  /// Rank i is on devices[i]; several may be on the host, where each has a block of memory that belongs to this object:
  /// keep it for as long as a load of its request. What a rank on another device has, lies in the load's arena there.
  /// Throws std::runtime_error where heads or widths cannot be divided among the ranks.
  Weights(const Config& config, std::vector<sluice::DeviceId> devices);
  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;

  const sluice::Request& request() const { return request_; }
  const std::vector<RankWeights>& ranks() const { return ranks_; }

  // In the order in which a forward pass needs them, which is the order of reading.
  static constexpr sluice::Group embeddings_group() { return {0}; }
  static constexpr sluice::Group layer_group(std::size_t layer) { return {static_cast<std::uint32_t>(layer) + 1}; }
  sluice::Group final_group() const { return layer_group(ranks_.front().layers.size()); }

  /// Waits until each rank has its parameters of that group. Throws the load's Error.
  void wait(const sluice::Load& load, sluice::Group group) const;

 private:
  struct Free {
    void operator()(void* block) const { std::free(block); }
  };
  using Block = std::unique_ptr<void, Free>;

  static Block allocate(std::size_t bytes);

  std::vector<sluice::DeviceId> devices_;
  std::vector<RankWeights> ranks_;
  sluice::Request request_;
  std::vector<Block> blocks_;  // of the ranks on the host
};
