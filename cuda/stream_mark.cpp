#include "cuda/stream_mark.hpp"

#include <fmt/format.h>

#include <utility>

#include "sluice/error.hpp"

namespace sluice {

CudaStreamMark::CudaStreamMark(std::shared_ptr<const Context> context, CUstream_st* stream)
    : context_(std::move(context)) {
  const CurrentContext current(*context_);
  check_stream(stream);
  auto event = std::make_unique<const Event>(*context_);
  context_->check(context_->driver().cuEventRecord(event->handle(), stream), "cuEventRecord");
  event_ = std::move(event);
}

CudaStreamMark::~CudaStreamMark() {
  with_context(*context_, [this] { event_.reset(); });
}

// What the driver refuses is not to be waited for any more: the context is dead.
void CudaStreamMark::wait() const noexcept {
  with_context(*context_, [this] { ignore(context_->driver().cuEventSynchronize(event_->handle())); });
}

void CudaStreamMark::check_stream(CUstream_st* stream) const {
  // The default stream is that of the context that is current.
  if (stream != nullptr) {
    cu::Context of = nullptr;
    context_->check(context_->driver().cuStreamGetCtx(stream, &of), "cuStreamGetCtx");
    if (of != context_->handle()) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("the stream to wait for belongs to another device, or context, than cuda:{}'s",
                              context_->ordinal()),
                  {}, "give a stream of the device's primary context");
    }
  }
  cu::CaptureStatus status = cu::CaptureStatus::none;
  const cu::Result result = context_->driver().cuStreamIsCapturing(stream, &status);
  if (result == cu::Result::success && status == cu::CaptureStatus::none) return;
  if (result != cu::Result::success && result != cu::Result::stream_capture_implicit) {
    context_->check(result, "cuStreamIsCapturing");
  }
  throw Error(ErrorCode::invalid_argument, "the stream to wait for is capturing a graph", {},
              "start the load before or after the capture");
}

std::shared_ptr<const StreamMark> mark_cuda_stream(int ordinal, CUstream_st* stream) {
  return std::make_shared<const CudaStreamMark>(std::make_shared<const Context>(ordinal), stream);
}

}  // namespace sluice
