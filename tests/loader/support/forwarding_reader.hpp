// ForwardingReader: another reader, to derive those from that look at, or change, some of what goes through it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "loader/read/reader.hpp"

namespace sluice {

class ForwardingReader : public Reader {
 public:
  explicit ForwardingReader(std::unique_ptr<Reader> reader) : reader_(std::move(reader)) {}

  ReaderKind kind() const noexcept override { return reader_->kind(); }
  void use_slabs(std::span<std::byte> slabs, std::vector<Fallback>& fallbacks) override {
    reader_->use_slabs(slabs, fallbacks);
  }
  std::optional<Fallback> late_refusal() const override { return reader_->late_refusal(); }
  std::uint32_t add_file(int descriptor) override { return reader_->add_file(descriptor); }
  void remove_file(std::uint32_t file) noexcept override { reader_->remove_file(file); }
  void submit(const Read& read) override { reader_->submit(read); }
  void wait(std::vector<Done>& done, bool block) override { reader_->wait(done, block); }
  std::int64_t now_ns() const noexcept override { return reader_->now_ns(); }

 private:
  const std::unique_ptr<Reader> reader_;
};

}  // namespace sluice
