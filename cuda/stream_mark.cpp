#include "cuda/stream_mark.hpp"

#include <fmt/format.h>

#include <atomic>
#include <utility>

#include "sluice/error.hpp"

namespace sluice {
namespace {

/// Always another one, each later than all before it.
std::uint64_t next_moment() noexcept {
  static std::atomic<std::uint64_t> last = 0;
  return ++last;
}

/// A handle will not do: it may be that of a stream that was destroyed, and CU_STREAM_PER_THREAD is another stream on
/// each thread. Where the driver gives no numbers, before CUDA 12.0, each answer is of a stream of its own.
std::uint64_t number_of(const Driver& driver, CUstream_st* stream) noexcept {
  std::uint64_t number = 0;
  const bool has_number =
      driver.cuStreamGetId != nullptr && driver.cuStreamGetId(stream, &number) == cu::Result::success;
  return has_number ? number : ~next_moment();
}

}  // namespace

CudaStreamMark::CudaStreamMark(std::shared_ptr<const Context> context, CUstream_st* stream)
    : context_(std::move(context)) {
  const CurrentContext current(*context_);
  check_stream(stream);
  auto event = std::make_unique<const Event>(*context_);
  stream_ = number_of(context_->driver(), stream);
  after_ = next_moment();
  context_->check(context_->driver().cuEventRecord(event->handle(), stream), "cuEventRecord");
  before_ = next_moment();
  event_ = std::move(event);
}

CudaStreamMark::~CudaStreamMark() {
  with_context(*context_, [this] { event_.reset(); });
}

// What the driver refuses is not to be waited for any more: the context is dead.
void CudaStreamMark::wait() const noexcept {
  with_context(*context_, [this] { ignore(context_->driver().cuEventSynchronize(event_->handle())); });
}

bool CudaStreamMark::is_behind(const StreamMark& earlier) const noexcept {
  const auto& its = static_cast<const CudaStreamMark&>(earlier);
  return its.stream_ == stream_ && its.before_ < after_;
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
