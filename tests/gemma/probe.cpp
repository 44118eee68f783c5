// Shows gemma_test.py what the engine does inside:
//   probe tokens FOLDER TEXT               the numbers of the text's tokens
//   probe logits FOLDER RANKS COUNT ID...  in F32, what follows the first COUNT tokens, and then each further one
//   probe digests FOLDER DEVICE...         of the parameters of a rank per device, read back from there: name and
//   digest
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <map>
#include <sluice/sluice.hpp>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "config.hpp"
#include "decoder.hpp"
#include "timeline.hpp"
#include "tokenizer.hpp"
#include "weights.hpp"

namespace {

using Words = std::span<char* const>;

sluice::Load start(sluice::Engine& engine, const std::filesystem::path& folder, const Weights& weights) {
  return engine.start(sluice::make_plan(sluice::Checkpoint::open(folder), weights.request(), engine.options()));
}

void tokens(const std::filesystem::path& folder, const std::string& text) {
  for (const int token : Tokenizer(folder / "vocabulary.txt").encode(text)) std::printf("%d\n", token);
}

void logits(const std::filesystem::path& folder, std::size_t ranks, std::size_t count, Words words) {
  std::vector<int> ids;
  for (const char* const word : words) ids.push_back(std::stoi(word));

  sluice::Engine engine;
  const Config config = Config::read(folder / "config.json");
  const Weights weights(config, std::vector(ranks, sluice::host()));
  const sluice::Load load = start(engine, folder, weights);
  Timeline timeline;
  Decoder decoder(config, weights, load, timeline);
  std::span<const int> left = ids;
  for (count = std::min(count, left.size()); !left.empty(); count = 1) {
    const std::vector<float> result = decoder.forward(left.first(count));
    std::fwrite(result.data(), sizeof(float), result.size(), stdout);
    left = left.subspan(count);
  }
}

// FNV-1a.
std::uint64_t digest(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t result = 0xCBF29CE484222325;
  for (const std::uint8_t byte : bytes) result = (result ^ byte) * 0x100000001B3;
  return result;
}

void digests(const std::filesystem::path& folder, Words words) {
  std::vector<sluice::DeviceId> devices;
  for (const std::string name : words) {
    const auto named = sluice::parse_devices(name);
    devices.insert(devices.end(), named.begin(), named.end());
  }
  sluice::Engine engine;
  const Weights weights(Config::read(folder / "config.json"), devices);
  const sluice::Load load = start(engine, folder, weights);
  std::map<std::string, std::uint64_t> sorted;
  for (const sluice::Tensor& tensor : load) {
    std::vector<std::uint8_t> bytes(tensor.bytes);
    load.read_back(tensor, 0, bytes.data(), bytes.size());
    sorted[std::string(tensor.name)] = digest(bytes);
  }
  for (const auto& [name, value] : sorted)
    std::printf("%s %016llx\n", name.c_str(), static_cast<unsigned long long>(value));
}

void run(Words words) {
  const std::string what = words.size() > 2 ? words[0] : "";
  if (what == "tokens") {
    tokens(words[1], words[2]);
  } else if (what == "logits" && words.size() > 4) {
    logits(words[1], std::stoul(words[2]), std::stoul(words[3]), words.subspan(4));
  } else if (what == "digests") {
    digests(words[1], words.subspan(2));
  } else {
    throw std::runtime_error("the usage is in its source");
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(Words(argv, static_cast<std::size_t>(argc)).subspan(1));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "probe: %s\n", error.what());
    return 1;
  }
}
