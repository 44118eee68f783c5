// NullReader: says at once that it has read, and has not. It measures everything behind the reader, and is the example
// for whoever writes another one.
#pragma once

#include <vector>

#include "loader/read/reader.hpp"

namespace sluice {

class NullReader final : public Reader {
 public:
  explicit NullReader(Wakeup& wakeup) : wakeup_(wakeup) {}

  ReaderKind kind() const noexcept override { return ReaderKind::null; }
  void use_slabs(std::span<std::byte>, std::vector<Fallback>&) override {}
  std::uint32_t add_file(int descriptor) override { return static_cast<std::uint32_t>(descriptor); }
  void remove_file(std::uint32_t) noexcept override {}
  void submit(const Read& read) override { finished_.push_back({read.tag, read.bytes, 0}); }
  void wait(std::vector<Done>& done, bool block) override;

 private:
  Wakeup& wakeup_;
  std::vector<Done> finished_;
};

}  // namespace sluice
