#include "loader/read/uring_reader.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "sluice/error.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t wakeup_tag = ~std::uint64_t{0};

// Files in the ring's table. A load has two descriptors a shard open, and few shards at a time; what has no place in it
// is read by its descriptor.
constexpr std::uint32_t registered_files_most = 64;

// One registered buffer may be no longer than 1 GiB, and there may be no more than 1024 (Linux before 5.13) of them.
constexpr std::uint64_t registered_chunk_most = 1ull << 30;

std::string sysctl_io_uring_disabled() {
  std::ifstream file("/proc/sys/kernel/io_uring_disabled");
  std::string value;
  std::getline(file, value);
  return value;
}

std::string why_refused(int error) {
  const std::string disabled = sysctl_io_uring_disabled();
  if (error == EPERM && !disabled.empty() && disabled != "0") {
    return fmt::format("kernel.io_uring_disabled is {}; `sysctl kernel.io_uring_disabled=0` allows it", disabled);
  }
  if (error == EPERM || error == EACCES) {
    return fmt::format(
        "{}: most likely a seccomp filter, such as Docker's default profile; run with a profile that allows "
        "io_uring_setup, io_uring_enter and io_uring_register",
        std::strerror(error));
  }
  if (error == ENOSYS) return "this kernel, or a seccomp filter, knows no io_uring; Linux 5.6 or newer has it";
  if (error == ENOMEM) return "no memory may be locked for the ring; raise the limit (ulimit -l)";
  return std::strerror(error);
}

/// Sets the ring up with the first of `candidates` that this kernel knows; 0 or a negative errno.
int set_up(unsigned entries, io_uring& ring, std::span<const unsigned> candidates) {
  int result = -EINVAL;
  for (const unsigned flags : candidates) {
    result = io_uring_queue_init(entries, &ring, flags);
    if (result != -EINVAL) break;
  }
  return result;
}

/// What keeps the ring from being used; empty where nothing does.
std::string what_is_missing(io_uring& ring) {
  io_uring_probe* const probe = io_uring_get_probe_ring(&ring);
  if (probe == nullptr) {
    return "io_uring cannot be asked what it knows: a seccomp filter refuses io_uring_register, or Linux is older than "
           "5.6";
  }
  const bool knows = io_uring_opcode_supported(probe, IORING_OP_READ) != 0 &&
                     io_uring_opcode_supported(probe, IORING_OP_READ_FIXED) != 0 &&
                     io_uring_opcode_supported(probe, IORING_OP_POLL_ADD) != 0;
  io_uring_free_probe(probe);
  return knows ? "" : "this kernel's io_uring lacks IORING_OP_READ; Linux 5.6 or newer has it";
}

}  // namespace

std::unique_ptr<UringReader> UringReader::make(const Options& options, Wakeup& wakeup, std::vector<Fallback>& fallbacks,
                                               std::string& refusal, std::span<const unsigned> candidates) {
  std::unique_ptr<UringReader> reader(new UringReader(options, wakeup));
  // One entry a read, one for the wakeup; a short read that is continued has freed its own.
  const int result = set_up(options.queue_depth + 1, reader->ring_, candidates);
  if (result < 0) {
    refusal = why_refused(-result);
    return nullptr;
  }
  reader->has_ring_ = true;
  refusal = what_is_missing(reader->ring_);
  if (!refusal.empty()) return nullptr;
  const int files = io_uring_register_files_sparse(&reader->ring_, registered_files_most);
  if (files == 0) {
    reader->registered_files_ = registered_files_most;
    reader->files_.assign(registered_files_most, -1);
  } else {
    const std::string way_out =
        files == -EMFILE
            ? fmt::format("a limit on open files (ulimit -n) of {} or more allows it", registered_files_most)
            : "Linux 5.19 or newer has sparse tables";
    fallbacks.push_back({"registered files", fmt::format("{}; {}", std::strerror(-files), way_out)});
  }
  return reader;
}

UringReader::UringReader(const Options& options, Wakeup& wakeup)
    : wakeup_(wakeup), slab_bytes_(options.slab_bytes), slots_(options.queue_depth), cached_(options.threads, wakeup) {
  free_slots_.reserve(slots_.size());
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) free_slots_.push_back(slot);
}

UringReader::~UringReader() {
  if (has_ring_) io_uring_queue_exit(&ring_);
}

void UringReader::use_slabs(std::span<std::byte> slabs, std::vector<Fallback>& fallbacks) {
  if (!slabs_.empty()) io_uring_unregister_buffers(&ring_);
  slabs_ = {};
  if (slabs.empty()) return;
  // Whole slabs a chunk, so that no read straddles two.
  registered_chunk_bytes_ = registered_chunk_most / slab_bytes_ * slab_bytes_;
  std::vector<iovec> chunks;
  for (std::uint64_t at = 0; at < slabs.size(); at += registered_chunk_bytes_) {
    chunks.push_back({slabs.data() + at, std::min<std::uint64_t>(registered_chunk_bytes_, slabs.size() - at)});
  }
  const int result = io_uring_register_buffers(&ring_, chunks.data(), static_cast<unsigned>(chunks.size()));
  if (result == 0) {
    slabs_ = slabs;
    return;
  }
  fallbacks.push_back(
      {"registered buffers", result == -ENOMEM
                                 ? fmt::format("{} bytes may not be locked; raise the limit (ulimit -l)", slabs.size())
                                 : std::strerror(-result)});
}

std::uint32_t UringReader::add_file(int descriptor) {
  const auto free = std::find(files_.begin(), files_.end(), -1);
  const auto file = static_cast<std::uint32_t>(free - files_.begin());
  if (free == files_.end()) {
    files_.push_back(descriptor);
  } else {
    *free = descriptor;
  }
  if (file < registered_files_) {
    const int result = io_uring_register_files_update(&ring_, file, &descriptor, 1);
    if (result != 1) registered_files_ = std::min(registered_files_, file);  // from here on by descriptor
  }
  return file;
}

void UringReader::remove_file(std::uint32_t file) noexcept {
  if (file < registered_files_) {
    int none = -1;
    io_uring_register_files_update(&ring_, file, &none, 1);
  }
  files_[file] = -1;
}

void UringReader::submit(const Read& read) {
  if (read.path == ReadPath::cached) return cached_.submit(files_[read.file], read);
  assert(!free_slots_.empty());
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  slots_[slot] = ReadProgress(read);
  ask(slot);
}

void UringReader::wait(std::vector<Done>& done, bool block) {
  arm_wakeup();
  enter(block);
  // Completions are taken only after the sleep, and a notification only where this returns next: the caller has looked
  // at its marks before it called, so to clear one and sleep on would be to lose it.
  const bool notified = take_completions(done);
  if (notified) wakeup_.clear();
  cached_.collect(done);
}

void UringReader::arm_wakeup() {
  if (wakeup_armed_) return;
  io_uring_sqe* const sqe = next_sqe();
  io_uring_prep_poll_add(sqe, wakeup_.fd(), POLLIN);
  io_uring_sqe_set_data64(sqe, wakeup_tag);
  wakeup_armed_ = true;
}

void UringReader::enter(bool block) {
  // Even where nothing is to be waited for, the kernel must be entered: it finishes deferred work only then.
  const int result = block ? io_uring_submit_and_wait(&ring_, 1) : io_uring_submit_and_get_events(&ring_);
  // Interrupted or out of something for the moment, it is as if it were notified: the engine looks and waits again.
  if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY && result != -ENOMEM) {
    throw Error(ErrorCode::system, fmt::format("io_uring_enter: {}", std::strerror(-result)), {},
                "choose the reader `pread`");
  }
}

bool UringReader::take_completions(std::vector<Done>& done) {
  bool notified = false;
  io_uring_cqe* cqe = nullptr;
  while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
    const std::uint64_t tag = io_uring_cqe_get_data64(cqe);
    const int result = cqe->res;
    io_uring_cqe_seen(&ring_, cqe);
    if (tag == wakeup_tag) {
      wakeup_armed_ = false;
      notified = true;
      continue;
    }
    const auto slot = static_cast<std::uint32_t>(tag);
    ReadProgress& progress = slots_[slot];
    progress.add(result);
    if (progress.ended()) {
      done.push_back(progress.done());
      free_slots_.push_back(slot);
    } else {
      ask(slot);
    }
  }
  return notified;
}

void UringReader::ask(std::uint32_t slot) {
  const ReadProgress& progress = slots_[slot];
  const Read& read = progress.read();
  io_uring_sqe* const sqe = next_sqe();
  const bool fixed_file = read.file < registered_files_;
  const int file = fixed_file ? static_cast<int>(read.file) : files_[read.file];
  if (read.in_slabs && !slabs_.empty()) {
    const auto chunk = static_cast<std::uint64_t>(read.target - slabs_.data()) / registered_chunk_bytes_;
    io_uring_prep_read_fixed(sqe, file, progress.target(), progress.bytes(), progress.offset(),
                             static_cast<int>(chunk));
  } else {
    io_uring_prep_read(sqe, file, progress.target(), progress.bytes(), progress.offset());
  }
  if (fixed_file) io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
  io_uring_sqe_set_data64(sqe, slot);
}

io_uring_sqe* UringReader::next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  // The queue has an entry for every read in flight, but a read that is continued may need one before the last
  // submission was taken.
  while (sqe == nullptr) {
    io_uring_submit(&ring_);
    sqe = io_uring_get_sqe(&ring_);
  }
  return sqe;
}

}  // namespace sluice
