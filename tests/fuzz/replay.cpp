// Runs the fuzz target without a fuzzer: each file that is named, as a shard and as an index, then cut and changed at
// every byte. So that what clang's libFuzzer would reach first is also run where there is no clang.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t bytes);

int main(int count, char** arguments) {
  // Files beyond this are replayed as they are: every change of every byte would take too long.
  constexpr std::size_t changed_bytes_max = 1024;
  std::size_t runs = 0;
  const auto run = [&](const std::vector<std::uint8_t>& input) {
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ++runs;
  };
  for (int i = 1; i < count; ++i) {
    std::ifstream file(arguments[i], std::ios::binary);
    if (!file) {
      std::cerr << "cannot read " << arguments[i] << '\n';
      return 1;
    }
    const std::vector<std::uint8_t> content{std::istreambuf_iterator<char>(file), {}};
    for (const char kind : {'s', 'i'}) {
      std::vector<std::uint8_t> input{static_cast<std::uint8_t>(kind)};
      input.insert(input.end(), content.begin(), content.end());
      run(input);
      if (input.size() > changed_bytes_max) continue;
      for (std::size_t at = 1; at < input.size(); ++at) {
        run({input.begin(), input.begin() + static_cast<std::ptrdiff_t>(at)});
        for (const std::uint8_t byte : {0x00, 0x22, 0x2D, 0x30, 0x39, 0x5B, 0x5C, 0x5D, 0x7B, 0x7D, 0x80, 0xFF}) {
          std::vector<std::uint8_t> changed = input;
          changed[at] = byte;
          run(changed);
        }
      }
    }
  }
  std::cout << runs << " inputs\n";
  return runs == 0 ? 1 : 0;
}
