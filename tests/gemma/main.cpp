// Speaks: gemma <folder of a Gemma 3> <prompt> [how many tokens] [how many ranks]. Greedy. The last line says how long
// the first token took from the start of the program, and with what.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <sluice/sluice.hpp>
#include <span>
#include <string>
#include <vector>

#include "config.hpp"
#include "decoder.hpp"
#include "timeline.hpp"
#include "tokenizer.hpp"
#include "weights.hpp"

namespace {

void say(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void report(const Timeline& timeline) {
  double sum = 0;
  for (const auto& part : timeline.parts()) sum += part.seconds;
  std::printf("\nfirst token after %.0f ms:", sum * 1e3);
  const char* separator = " ";
  for (const auto& [name, seconds] : timeline.parts()) {
    std::printf("%s%s %.0f", separator, name.c_str(), seconds * 1e3);
    separator = ", ";
  }
  std::printf("\n");
}

void run(const std::filesystem::path& folder, const std::string& prompt, unsigned tokens, unsigned ranks) {
  Timeline timeline;
  sluice::Engine engine;
  const auto checkpoint = sluice::Checkpoint::open(folder);
  const Config config = Config::read(folder / "config.json");
  timeline.mark("open");
  const Weights weights(config, std::vector(ranks, sluice::host()));
  const auto plan = sluice::make_plan(checkpoint, weights.request(), engine.options());
  timeline.mark("plan");
  const auto load = engine.start(plan);
  timeline.mark("start");

  // From here on weights arrive.
  const Tokenizer tokenizer(folder / "vocabulary.txt");
  Decoder decoder(config, weights, load, timeline);
  std::vector<int> next = tokenizer.encode(prompt);
  timeline.mark("tokenizer");
  say(prompt);
  for (unsigned i = 0; i < tokens; ++i) {
    const std::vector<float> logits = decoder.forward(next);
    next = {static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin())};
    if (tokenizer.ends(next.front())) break;
    say(tokenizer.decode(next.front()));
  }
  report(timeline);
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int index, unsigned otherwise) {
    return argc > index ? static_cast<unsigned>(std::strtoul(argv[index], nullptr, 10)) : otherwise;
  };
  const unsigned tokens = number(3, 12);
  const unsigned ranks = number(4, 1);
  if (argc < 3 || argc > 5 || tokens == 0 || ranks == 0) {
    std::fprintf(stderr, "usage: gemma FOLDER PROMPT [TOKENS [RANKS]]\n");
    return 2;
  }
  try {
    run(argv[1], argv[2], tokens, ranks);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "gemma: %s\n", error.what());
    return 1;
  }
}
