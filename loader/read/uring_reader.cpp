#include "loader/read/uring_reader.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <thread>

#include "loader/base/limits.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

constexpr std::uint64_t wakeup_tag = ~std::uint64_t{0};

// Files in the ring's table. A load has two descriptors a shard open, and few shards at a time; what has no place in it
// is read by its descriptor.
constexpr std::uint32_t registered_files_most = 64;

// One registered buffer may be no longer than 1 GiB, and there may be no more of them than 16384 (1024 before Linux
// 5.13, where the table cannot be filled bit by bit either).
constexpr std::uint64_t registered_chunk_most = 1ull << 30;
constexpr std::uint64_t registered_chunks_most = 1u << 14;

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

[[noreturn]] void throw_broken(const char* what, int error) {
  throw Error(ErrorCode::system, fmt::format("{}: {}", what, std::strerror(error)), {}, "choose the reader `pread`");
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
    reader->table_files_ = registered_files_most;
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
    : wakeup_(wakeup), slab_bytes_(options.slab_bytes), slots_(options.queue_depth), pool_threads_(options.threads) {
  free_slots_.reserve(slots_.size());
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) free_slots_.push_back(slot);
}

UringReader::~UringReader() {
  pool_.reset();  // waits for its reads
  if (has_ring_) io_uring_queue_exit(&ring_);
}

void UringReader::use_slabs(std::span<std::byte> slabs, std::vector<Fallback>& fallbacks) {
  if (!registered_.empty()) io_uring_unregister_buffers(&ring_);
  slabs_ = slabs;
  registered_.clear();
  late_error_ = 0;
  if (slabs.empty()) return;
  int result = make_buffer_table();
  if (result == -EINVAL) {
    result = register_all();  // Linux before 5.19 knows no sparse table
  } else if (result == 0) {
    result = register_chunk(0);  // what is refused from the first slab on is told now
    if (result < 0) io_uring_unregister_buffers(&ring_);
  }
  if (result == 0) return;
  registered_.clear();
  fallbacks.push_back(refused_buffers(-result));
}

Fallback UringReader::refused_buffers(int error) const {
  return {"registered buffers",
          error == ENOMEM ? fmt::format("{} bytes may not be locked; raise the limit (ulimit -l)", slabs_.size())
                          : std::strerror(error)};
}

int UringReader::make_buffer_table() {
  // Whole slabs a chunk, so that no read straddles two; one, unless there are very many.
  const std::uint64_t slabs = (slabs_.size() + slab_bytes_ - 1) / slab_bytes_;
  chunk_bytes_ = slab_bytes_ * ((slabs + registered_chunks_most - 1) / registered_chunks_most);
  registered_.assign((slabs_.size() + chunk_bytes_ - 1) / chunk_bytes_, false);
  return io_uring_register_buffers_sparse(&ring_, static_cast<unsigned>(registered_.size()));
}

int UringReader::register_all() {
  chunk_bytes_ = registered_chunk_most / slab_bytes_ * slab_bytes_;
  std::vector<iovec> chunks;
  for (std::uint64_t at = 0; at < slabs_.size(); at += chunk_bytes_) chunks.push_back(chunk_at(at));
  registered_.assign(chunks.size(), true);
  return io_uring_register_buffers(&ring_, chunks.data(), static_cast<unsigned>(chunks.size()));
}

iovec UringReader::chunk_at(std::uint64_t offset) const noexcept {
  return {slabs_.data() + offset, std::min<std::uint64_t>(chunk_bytes_, slabs_.size() - offset)};
}

int UringReader::register_chunk(std::size_t number) noexcept {
  const iovec chunk = chunk_at(number * chunk_bytes_);
  const __u64 untagged = 0;
  const int result = io_uring_register_buffers_update_tag(&ring_, static_cast<unsigned>(number), &chunk, &untagged, 1);
  if (result < 0) return result;
  registered_[number] = true;
  return 0;
}

std::optional<std::size_t> UringReader::registered_chunk_of(const Read& read) noexcept {
  if (!read.in_slabs || registered_.empty()) return std::nullopt;
  const std::size_t chunk = static_cast<std::size_t>(read.target - slabs_.data()) / chunk_bytes_;
  // The kernel touches the memory now, and holds it: before its first read, and no more of it than is used.
  if (!registered_[chunk] && late_error_ == 0) late_error_ = -register_chunk(chunk);
  return registered_[chunk] ? std::optional(chunk) : std::nullopt;
}

std::optional<Fallback> UringReader::late_refusal() const {
  if (late_error_ == 0) return std::nullopt;
  return refused_buffers(late_error_);
}

std::uint32_t UringReader::add_file(int descriptor) {
  const auto free = std::find_if(files_.begin(), files_.end(), [](const File& file) { return file.descriptor < 0; });
  const auto number = static_cast<std::uint32_t>(free - files_.begin());
  File& file = free == files_.end() ? files_.emplace_back() : *free;
  file.descriptor = descriptor;
  if (number < table_files_) {
    // Where the ring refuses this one, it is read by its descriptor.
    file.in_ring = io_uring_register_files_update(&ring_, number, &descriptor, 1) == 1;
  }
  return number;
}

void UringReader::remove_file(std::uint32_t number) noexcept {
  assert(number < files_.size() && files_[number].descriptor >= 0);
  if (number < table_files_) {
    // Whatever the table holds there. Where this is refused, the ring keeps the file open until the next try.
    int none = -1;
    io_uring_register_files_update(&ring_, number, &none, 1);
  }
  files_[number] = {};
}

void UringReader::submit(const Read& read) {
  if (read.path == ReadPath::cached && hand_to_pool(ReadProgress(read))) return;
  assert(!free_slots_.empty());
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  slots_[slot] = ReadProgress(read);
  ask(slot);
}

bool UringReader::hand_to_pool(const ReadProgress& progress) noexcept {
  try {
    if (pool_ == nullptr)
      pool_ = std::make_unique<PreadPool>(pool_threads_, static_cast<unsigned>(slots_.size()), wakeup_);
    pool_->submit(files_[progress.read().file].descriptor, progress);
    return true;
  } catch (const std::exception&) {
    return false;  // no thread, or no memory: the ring reads it, more slowly
  }
}

void UringReader::wait(std::vector<Done>& done, bool block) {
  done.reserve(done.size() + slots_.size());  // so that from here on nothing that was taken can be lost
  arm_wakeup();
  enter(block);
  // Completions are taken only after the sleep, and a notification only where this returns next: the caller has looked
  // at its marks before it called, so to clear one and sleep on would be to lose it.
  const bool notified = take_completions(done);
  if (notified) wakeup_.clear();
  if (pool_ != nullptr) pool_->collect(done);
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
  if (result >= 0) {
    refused_enters_ = 0;
    return;
  }
  // A signal has interrupted it: it is as if it were notified. Nobody is interrupted without end.
  if (result == -EINTR) return;
  if (!is_passing(-result) || ++refused_enters_ >= limits::tries_max) throw_broken("io_uring_enter", -result);
  if (block) std::this_thread::sleep_for(limits::retry_pause);
}

bool UringReader::take_completions(std::vector<Done>& done) {
  bool notified = false;
  io_uring_cqe* cqe = nullptr;
  // Ends, since what is asked for in here reaches the kernel only with the next enter().
  while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
    const std::uint64_t tag = io_uring_cqe_get_data64(cqe);
    const int result = cqe->res;
    io_uring_cqe_seen(&ring_, cqe);
    if (tag == wakeup_tag) {
      wakeup_armed_ = false;
      notified = true;
      // Cancelled as a read may be: the caller looks, and the next wait polls again.
      if (result < 0 && result != -ECANCELED) throw_broken("polling an eventfd with io_uring", -result);
      continue;
    }
    take_answer(static_cast<std::uint32_t>(tag), result, done);
  }
  return notified;
}

void UringReader::take_answer(std::uint32_t slot, int result, std::vector<Done>& done) {
  ReadProgress& progress = slots_[slot];
  progress.add(result);
  if (progress.ended()) {
    done.push_back(progress.done());
  } else if (!progress.refused() || !hand_to_pool(progress)) {
    return ask(slot);
  }
  free_slots_.push_back(slot);
}

void UringReader::ask(std::uint32_t slot) {
  const ReadProgress& progress = slots_[slot];
  const Read& read = progress.read();
  io_uring_sqe* const sqe = next_sqe();
  const File& file = files_[read.file];
  const int named = file.in_ring ? static_cast<int>(read.file) : file.descriptor;
  if (const auto chunk = registered_chunk_of(read)) {
    io_uring_prep_read_fixed(sqe, named, progress.target(), progress.bytes(), progress.offset(),
                             static_cast<int>(*chunk));
  } else {
    io_uring_prep_read(sqe, named, progress.target(), progress.bytes(), progress.offset());
  }
  if (file.in_ring) io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
  io_uring_sqe_set_data64(sqe, slot);
}

io_uring_sqe* UringReader::next_sqe() {
  // The queue has an entry for each slot and one for the wakeup, and none of them asks again before the kernel has
  // taken its entry and answered.
  io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
  assert(sqe != nullptr);
  return sqe;
}

}  // namespace sluice
