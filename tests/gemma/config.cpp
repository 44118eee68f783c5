#include "config.hpp"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace {

using nlohmann::json;

// What this engine does in one way only: a model that wants another must not be computed wrongly in silence.
void require_known_variant(const json& config, const std::filesystem::path& file) {
  const json wanted = {{"model_type", "gemma3_text"},       {"hidden_activation", "gelu_pytorch_tanh"},
                       {"attention_bias", false},           {"rope_scaling", nullptr},
                       {"attn_logit_softcapping", nullptr}, {"final_logit_softcapping", nullptr}};
  for (const auto& [key, value] : wanted.items()) {
    const json found = config.value(key, json());
    if (found != value) {
      throw std::runtime_error(file.string() + ": this engine computes models with " + key + " " + value.dump() +
                               " only, this one has " + found.dump());
    }
  }
  if (!config.value("tie_word_embeddings", true)) {
    throw std::runtime_error(file.string() + ": this engine computes models with tied embeddings only");
  }
}

}  // namespace

Config Config::read(const std::filesystem::path& file) {
  std::ifstream text(file);
  if (!text) throw std::runtime_error("cannot read " + file.string());
  try {
    const json config = json::parse(text);
    require_known_variant(config, file);
    Config result{.vocabulary = config.at("vocab_size"),
                  .hidden = config.at("hidden_size"),
                  .inner = config.at("intermediate_size"),
                  .layers = config.at("num_hidden_layers"),
                  .heads = config.at("num_attention_heads"),
                  .kv_heads = config.at("num_key_value_heads"),
                  .head_width = config.at("head_dim"),
                  .window = config.at("sliding_window"),
                  .sliding = {},
                  .sliding_rotary_base = config.at("rope_local_base_freq"),
                  .full_rotary_base = config.at("rope_theta"),
                  .query_scale = 1 / std::sqrt(config.at("query_pre_attn_scalar").get<float>()),
                  .norm_epsilon = config.at("rms_norm_eps")};
    for (const json& type : config.at("layer_types")) result.sliding.push_back(type == "sliding_attention");
    if (result.sliding.size() != result.layers || result.kv_heads == 0 || result.heads % result.kv_heads != 0) {
      throw std::runtime_error(file.string() + ": layers or heads do not fit together");
    }
    return result;
  } catch (const json::exception& error) {
    throw std::runtime_error(file.string() + ": " + error.what());
  }
}
