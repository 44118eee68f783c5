#include "loader/format/header_reader.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "loader/base/file_identity.hpp"
#include "loader/base/limits.hpp"
#include "loader/base/thread.hpp"
#include "loader/format/foreign_format.hpp"
#include "loader/format/input_file.hpp"
#include "loader/format/name_table.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

namespace fs = std::filesystem;

// Read in one go before anything is known of a file: most headers fit.
constexpr std::uint64_t first_read_bytes = 64 * 1024;

/// What the file is, if not safetensors.
std::optional<ForeignFormat> recognise(const InputFile& file, const fs::path& path) {
  const std::uint64_t bytes = std::min(file.bytes(), first_read_bytes);
  std::string head(bytes, '\0');
  std::string tail(bytes, '\0');
  file.read(head.data(), 0, bytes);
  file.read(tail.data(), file.bytes() - bytes, bytes);
  return foreign_format_of(head, tail, path.filename().string());
}

/// include/uapi/linux/stat.h, Linux 6.1: STATX_DIOALIGN, newer than Debian 12's C library. The kernel's struct has 256
/// bytes.
void ask_for_direct_alignment(const InputFile& file, Shard& shard) {
  constexpr unsigned dioalign = 0x2000;
  constexpr std::size_t mask_at = 0;
  constexpr std::size_t memory_at = 0x98;
  constexpr std::size_t offset_at = 0x9c;
  std::array<unsigned char, 256> answer{};
  if (syscall(SYS_statx, file.descriptor(), "", AT_EMPTY_PATH, dioalign, answer.data()) != 0) return;
  std::uint32_t mask = 0;
  std::memcpy(&mask, answer.data() + mask_at, sizeof mask);
  if ((mask & dioalign) == 0) return;
  std::memcpy(&shard.direct_memory_alignment, answer.data() + memory_at, sizeof(std::uint32_t));
  std::memcpy(&shard.direct_offset_alignment, answer.data() + offset_at, sizeof(std::uint32_t));
}

/// Reads and validates the header of the shard at `result.shard.path`, and fills in what else is known of the file.
void read_shard(HeaderParser& parser, ReadShard& result) {
  Shard& shard = result.shard;
  const InputFile file(shard.path, "shard");
  shard.bytes = file.bytes();
  result.identity.file = identity_of(file.status());
  ask_for_direct_alignment(file, shard);
  try {
    const std::uint64_t first = std::min(shard.bytes, first_read_bytes);
    file.read(parser.room(first), 0, first);
    shard.data_offset = parser.data_offset(shard.bytes, shard.path);
    if (shard.data_offset > first) {
      file.read(parser.room(shard.data_offset, first) + first, first, shard.data_offset - first);
    }
    result.identity.header_digest =
        header_digest({parser.room(shard.data_offset, shard.data_offset), shard.data_offset});
    result.header = parser.parse(shard.data_offset, shard.bytes, shard.path);
    shard.metadata = std::move(result.header.metadata);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::bad_header) throw;
    const auto foreign = recognise(file, shard.path);
    if (!foreign) throw;
    throw Error(ErrorCode::unsupported_format, fmt::format("this is {}, not safetensors", foreign->what),
                {shard.path.string(), {}, {}}, std::string(foreign->way_out));
  }
  result.hashes.reserve(result.header.tensors.size());
  for (const TensorInfo& tensor : result.header.tensors) result.hashes.push_back(NameTable::hash(tensor.name));
}

/// Threads that may open files at a time and leave three quarters of the descriptors to the rest of the process.
unsigned descriptors_spare() noexcept {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
  constexpr rlim_t share = 4;
  constexpr rlim_t per_thread = 2;  // while a file is being opened
  return static_cast<unsigned>(std::clamp<rlim_t>(limit.rlim_cur / (share * per_thread), 1, limits::threads_max));
}

}  // namespace

std::uint64_t header_digest(std::string_view header) noexcept {
  return NameTable::hash(header);
}

std::uint64_t read_header_digest(int descriptor, const Shard& shard) {
  const auto header = std::make_unique_for_overwrite<char[]>(shard.data_offset);
  read_range(descriptor, shard.path, header.get(), 0, shard.data_offset);
  return header_digest({header.get(), shard.data_offset});
}

HeaderReader::HeaderReader(unsigned threads) : threads_max_(std::min(std::max(threads, 1u), descriptors_spare())) {}

HeaderReader::~HeaderReader() {
  {
    const MutexLock lock(mutex_);
    next_ = jobs_.size();
  }
  join();
}

void HeaderReader::add(fs::path path) {
  std::size_t count = 0;
  {
    const MutexLock lock(mutex_);
    jobs_.emplace_back().result.shard.path = std::move(path);
    count = jobs_.size();
  }
  // One thread fewer than shards: the caller comes to help.
  if (others_.size() + 1 < std::min<std::size_t>(threads_max_, count) && !refused_) start_one_more();
  changed_.notify_one();
}

std::vector<ReadShard> HeaderReader::finish() {
  {
    const MutexLock lock(mutex_);
    complete_ = true;
  }
  changed_.notify_all();
  work();
  join();
  const MutexLock lock(mutex_);  // nobody else is left to hold it
  std::vector<Job*> in_order;
  for (Job& job : jobs_) in_order.push_back(&job);
  std::ranges::sort(in_order, {}, [](const Job* job) -> const std::string& { return job->result.shard.path.native(); });
  std::vector<ReadShard> shards;
  shards.reserve(in_order.size());
  for (Job* const job : in_order) {
    if (job->error != nullptr) std::rethrow_exception(job->error);
    shards.push_back(std::move(job->result));
  }
  return shards;
}

void HeaderReader::start_one_more() {
  try {
    if (others_.capacity() == 0) others_.reserve(threads_max_);  // a thread that runs must find its place
    others_.push_back(start_thread("sluice-open", [this] { work(); }));
  } catch (const std::exception&) {
    refused_ = true;  // the calling thread does what the others cannot
  }
}

void HeaderReader::work() noexcept {
  std::optional<HeaderParser> parser;  // made where a shard without memory for it has a place for the error
  MutexLock lock(mutex_);
  for (;;) {
    while (!complete_ && next_ == jobs_.size()) changed_.wait(lock);
    if (next_ == jobs_.size()) return;
    Job& job = jobs_[next_++];
    lock.unlock();
    try {
      if (!parser) parser.emplace();
      read_shard(*parser, job.result);
    } catch (...) {
      job.error = std::current_exception();
    }
    lock.lock();
  }
}

void HeaderReader::join() noexcept {
  {
    const MutexLock lock(mutex_);
    complete_ = true;
  }
  changed_.notify_all();
  for (std::thread& other : others_) other.join();
  others_.clear();
}

}  // namespace sluice
