// CudaStreamMark: what was queued on a caller's stream when the mark was made, for lanes to wait for.
// Threads: it does not change.
#pragma once

#include <cstdint>
#include <memory>

#include "cuda/context.hpp"
#include "loader/device/device.hpp"

namespace sluice {

class CudaStreamMark final : public StreamMark {
 public:
  /// Throws Error{invalid_argument} for a stream of another device, and for one that captures a graph, which can be
  /// ordered with nothing outside of it; Error{device_unavailable}.
  CudaStreamMark(std::shared_ptr<const Context> context, CUstream_st* stream);
  ~CudaStreamMark() override;

  void wait() const noexcept override;
  bool is_behind(const StreamMark& earlier) const noexcept override;
  /// REQUIRES: the context is current.
  void hold_back(const Stream& stream) const { stream.wait_for(event_->handle()); }

 private:
  void check_stream(CUstream_st* stream) const;

  const std::shared_ptr<const Context> context_;
  std::unique_ptr<const Event> event_;
  // The stream by the driver's number, and between which two moments this was recorded there, in the order of all such
  // moments of the process.
  std::uint64_t stream_ = 0;
  std::uint64_t after_ = 0;
  std::uint64_t before_ = 0;
};

}  // namespace sluice
