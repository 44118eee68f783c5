// PreadReader: a small pool of threads that call pread, where io_uring is refused. Each thread is one read in flight.
#pragma once

#include <vector>

#include "loader/read/pread_pool.hpp"
#include "loader/read/reader.hpp"

namespace sluice {

class PreadReader final : public Reader {
 public:
  PreadReader(const Options& options, Wakeup& wakeup);

  ReaderKind kind() const noexcept override { return ReaderKind::pread; }
  void use_slabs(std::span<std::byte>, std::vector<Fallback>&) override {}
  std::uint32_t add_file(int descriptor) override { return static_cast<std::uint32_t>(descriptor); }
  void remove_file(std::uint32_t) noexcept override {}
  void submit(const Read& read) override { pool_.submit(static_cast<int>(read.file), ReadProgress(read)); }
  void wait(std::vector<Done>& done, bool block) override;

 private:
  Wakeup& wakeup_;
  PreadPool pool_;
};

}  // namespace sluice
