// Says what sluice makes of each file whose path comes in on standard input, a line each:
//   ok<TAB>hex of name,dtype,shape,begin,end<TAB>...     tensors in order of offset; dimensions joined by "x"
//   no<TAB>code<TAB>message
// The other half of differential.py, which asks the reference implementation about the same files.
#include <fmt/format.h>

#include <iostream>
#include <string>

#include "sluice/checkpoint.hpp"
#include "sluice/error.hpp"

namespace {

std::string verdict(const std::string& path) {
  try {
    const auto checkpoint = sluice::Checkpoint::open(path, 1);
    std::string line = "ok";
    const std::uint64_t data_offset = checkpoint.shards()[0].data_offset;
    for (const sluice::TensorInfo& tensor : checkpoint.tensors()) {
      line += '\t';
      for (const char c : tensor.name) line += fmt::format("{:02x}", static_cast<unsigned char>(c));
      const std::uint64_t begin = tensor.offset - data_offset;
      line += fmt::format(",{},{},{},{}", sluice::name(tensor.dtype), fmt::join(tensor.shape, "x"), begin,
                          begin + tensor.bytes);
    }
    return line;
  } catch (const sluice::Error& error) {
    return fmt::format("no\t{}\t{}", sluice::name(error.code()), error.what());
  }
}

}  // namespace

int main() {
  for (std::string path; std::getline(std::cin, path);) std::cout << verdict(path) << '\n';
  return 0;
}
