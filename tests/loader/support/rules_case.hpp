// RulesCase: a small checkpoint in a folder of its own, and rules that are tried on it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/sluice.hpp"
#include "tests/loader/support/shard_builder.hpp"
#include "tests/loader/support/shard_writer.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {

class RulesCase {
 public:
  explicit RulesCase(const std::vector<TestTensor>& tensors = some(), const std::string& config = "")
      : shard_(write_shard(folder_, "model.safetensors", tensors)) {
    if (!config.empty()) folder_.write("config.json", bytes_of(config));
  }

  /// Two layers of two experts, and what is around them.
  static std::vector<TestTensor> some() {
    std::vector<TestTensor> tensors = {{"embed", bf16, {8, 4}}, {"head", bf16, {8, 4}}, {"norm", bf16, {4}}};
    for (const std::string layer : {"l.0.", "l.1."}) {
      tensors.push_back({layer + "q", bf16, {4, 4}});
      tensors.push_back({layer + "k", bf16, {2, 4}});
      tensors.push_back({layer + "norm", f32, {4}});
      for (const std::string expert : {"e.0.", "e.1.", "e.10."}) {
        tensors.push_back({layer + expert + "up", bf16, {2, 4}});
        tensors.push_back({layer + expert + "down", bf16, {4, 2}});
      }
    }
    return tensors;
  }

  const TemporaryFolder& folder() const { return folder_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }

  Request request(std::string_view text, const RulesOptions& options = {}) const {
    return parse_rules(text, checkpoint_, options, "f.rules");
  }
  Plan plan(std::string_view text, const RulesOptions& options = {}) const {
    return make_plan(checkpoint_, request(text, options));
  }
  /// What reading the rules throws.
  Error refusal(std::string_view text, const RulesOptions& options = {}) const {
    return error_of([&] { request(text, options); });
  }
  /// The request as a rules file in numbers.
  std::string worked_out(std::string_view text, const RulesOptions& options = {}) const {
    return write_rules(checkpoint_, request(text, options));
  }

 private:
  TemporaryFolder folder_;
  std::filesystem::path shard_;
  Checkpoint checkpoint_ = Checkpoint::open(folder_.path());
};

}  // namespace sluice
