// Attention: one rank's heads in one layer, with the keys and values of all tokens so far.
#pragma once

#include <cstddef>
#include <vector>

#include "config.hpp"
#include "kernels.hpp"
#include "weights.hpp"

class Attention {
 public:
  Attention(const Config& config, const LayerWeights& weights, std::size_t layer);

  /// `qkv`: new tokens' queries, keys and values. What each head has seen of them and of all earlier tokens.
  Rows attend(Rows qkv);

 private:
  void normalise_and_rotate(float* row, std::size_t position) const;
  void see(std::size_t head, std::size_t position, const float* query, float* seen) const;

  const Config& config_;
  const LayerWeights& weights_;
  bool sliding_;
  std::size_t heads_;  // this rank's, as are the following
  std::size_t kv_heads_;
  std::size_t positions_ = 0;
  std::vector<float> keys_;    // a row per position, a part per kv head
  std::vector<float> values_;  // likewise
};
