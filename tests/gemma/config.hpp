// Config: the shape of a Gemma 3 text model, as config.json beside the weights has it. A plain value.
#pragma once

#include <cstddef>
#include <filesystem>
#include <vector>

struct Config {
  std::size_t vocabulary = 0;
  std::size_t hidden = 0;  // width of what goes from layer to layer
  std::size_t inner = 0;   // width inside the feed-forward network
  std::size_t layers = 0;
  std::size_t heads = 0;
  std::size_t kv_heads = 0;  // each serves heads / kv_heads of the heads
  std::size_t head_width = 0;
  std::size_t window = 0;         // a sliding layer sees this many tokens, the newest among them
  std::vector<bool> sliding;      // of each layer; the others see all tokens
  float sliding_rotary_base = 0;  // of sliding layers
  float full_rotary_base = 0;     // of the others
  float query_scale = 0;          // multiplies the products of queries and keys
  float norm_epsilon = 0;

  /// Throws std::runtime_error for a file that cannot be read, and for a model that this engine would compute wrongly.
  static Config read(const std::filesystem::path& file);
};
