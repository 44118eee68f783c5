// TamperedReader: another reader, of whose reads a test makes some fail, and holds some back.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "tests/loader/support/forwarding_reader.hpp"

namespace sluice {

class TamperedReader final : public ForwardingReader {
 public:
  using ForwardingReader::ForwardingReader;

  /// The nth read from now on that ends, 1 is the next, ends half way: with this errno, or where the file ends if it
  /// is 0.
  void fail(std::uint64_t nth, int error) { errors_[ended_ + nth] = error; }
  /// Nobody is told of the nth read from now on that ends before `told` says so. It is asked again and again.
  void hold(std::uint64_t nth, std::function<bool()> told) {
    held_number_ = ended_ + nth;
    held_until_ = std::move(told);
  }
  /// No more reads fail or are held.
  void mend() {
    errors_.clear();
    held_number_ = 0;
    failed_.reset();
  }

  /// How many reads have ended.
  std::uint64_t ended() const { return ended_; }

  struct Failed {
    std::uint64_t offset = 0;  // in the file, of the read
    std::uint64_t bytes = 0;   // that it gave
  };
  /// The first read that failed.
  const std::optional<Failed>& failed() const { return failed_; }

  void submit(const Read& read) override {
    under_way_[read.tag] = read;
    ForwardingReader::submit(read);
  }
  void wait(std::vector<Done>& done, bool block) override {
    if (!held_.empty()) {
      if (!held_until_()) {
        std::this_thread::yield();
        return ForwardingReader::wait(done, false);
      }
      done.insert(done.end(), held_.begin(), held_.end());
      held_.clear();
      block = false;
    }
    const std::size_t before = done.size();
    ForwardingReader::wait(done, block);
    std::size_t kept = before;
    for (std::size_t i = before; i < done.size(); ++i) {
      const Done read = tampered(done[i]);
      ended_ == held_number_ ? held_.push_back(read) : static_cast<void>(done[kept++] = read);
    }
    done.resize(kept);
  }

 private:
  Done tampered(Done done) {
    const auto error = errors_.find(++ended_);
    if (error == errors_.end()) return done;
    const Read& read = under_way_.at(done.tag);
    done.bytes = read.bytes / 2;
    done.error = error->second;
    if (!failed_) failed_ = {read.offset, done.bytes};
    return done;
  }

  std::map<std::uint64_t, Read> under_way_;  // the last of each tag
  std::map<std::uint64_t, int> errors_;      // by number of the read
  std::uint64_t ended_ = 0;
  std::uint64_t held_number_ = 0;  // 0: none is held
  std::function<bool()> held_until_;
  std::vector<Done> held_;
  std::optional<Failed> failed_;
};

}  // namespace sluice
