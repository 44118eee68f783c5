#include "loader/tool/limit_probes.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>

#include "loader/base/limits.hpp"
#include "loader/base/memory.hpp"
#include "loader/base/regular_file.hpp"
#include "loader/base/stopwatch.hpp"
#include "loader/base/thread.hpp"
#include "loader/base/wakeup.hpp"
#include "loader/tool/descriptor.hpp"
#include "sluice/error.hpp"

namespace sluice::tool {

namespace {

// How long one measurement goes on at most and at least. A tenth of a second is a hundred times what threads take to
// start, and is short enough to be repeated in each round.
constexpr double sample_seconds_max = 0.5;
constexpr double sample_seconds_min = 0.1;
constexpr int tries = 3;
// Files that are open at a time.
constexpr std::size_t sample_files_max = 16;
// As much as its cache has room for beside other things: what a thread copies into again and again.
constexpr std::uint64_t hot_slab_bytes = 1ull << 20;
constexpr std::uint64_t fresh_piece_bytes = 4ull << 20;
static_assert(fresh_piece_bytes % huge_page_bytes == 0);

[[noreturn]] void refuse_sample(const std::filesystem::path& path, const char* what, int error) {
  throw Error(ErrorCode::io, fmt::format("{}: {}", what, std::generic_category().message(error)),
              {path.string(), {}, {}}, "let nothing write to the checkpoint while it is measured");
}

/// A part of memory that can be taken without pushing out the page cache.
std::uint64_t bounded_by_memory(std::uint64_t bytes) {
  return std::max(std::min(bytes, available_memory_bytes() / 4), fresh_piece_bytes);
}

/// So many of the files, evenly spread over all of them; none that is empty.
std::vector<CachedFile> some_of(const std::vector<CachedFile>& files) {
  std::vector<CachedFile> wanted;
  std::copy_if(files.begin(), files.end(), std::back_inserter(wanted),
               [](const CachedFile& file) { return file.read_bytes > 0 && file.read_bytes == file.bytes; });
  const std::size_t step = (wanted.size() + sample_files_max - 1) / sample_files_max;
  std::vector<CachedFile> some;
  for (std::size_t i = 0; i < wanted.size(); i += step) some.push_back(wanted[i]);
  return some;
}

/// All direct or, where one refuses that, all buffered.
std::vector<Descriptor> open_sample_files(const std::vector<CachedFile>& files, bool& direct) {
  std::vector<Descriptor> opened;
  opened.reserve(files.size());
  for (const CachedFile& file : files) {
    Descriptor plain = open_shard(file.path);
    if (direct) {
      Descriptor past_cache(open_once_more(plain.get(), file.path, O_DIRECT));
      if (!past_cache.is_open()) {
        direct = false;
        return open_sample_files(files, direct);
      }
      plain = std::move(past_cache);
    }
    opened.push_back(std::move(plain));
  }
  return opened;
}

/// Whether a measurement has seen enough: a sample of that many bytes, of which so many have been taken in `seconds`.
bool is_enough(std::uint64_t taken, std::uint64_t sample_bytes, double seconds) noexcept {
  if (taken >= sample_bytes_max || seconds >= sample_seconds_max) return taken > 0;
  return taken >= sample_bytes && seconds >= sample_seconds_min;
}

/// The best of some tries at a sample of so many bytes, in bytes a second: whatever disturbs one of them, the machine
/// can do better. `lap` goes through the sample once and returns how long that took.
template <typename Lap>
double best_rate(std::uint64_t sample_bytes, const Interruption& check, Lap lap) {
  double best = 0;
  for (int attempt = 0; attempt < tries; ++attempt) {
    std::uint64_t taken = 0;
    double seconds = 0;
    while (!is_enough(taken, sample_bytes, seconds)) {
      check();
      seconds += lap();
      taken += sample_bytes;
    }
    best = std::max(best, static_cast<double>(taken) / seconds);
  }
  return best;
}

/// Makes pages of [begin, begin + bytes) of a mapping present.
void populate(Mapping& memory, std::uint64_t begin, std::uint64_t bytes, unsigned threads) {
  const std::size_t pieces = (bytes + fresh_piece_bytes - 1) / fresh_piece_bytes;
  share_out(threads, pieces, [&](std::size_t piece) {
    const std::uint64_t offset = piece * fresh_piece_bytes;
    memory.populate(begin + offset, std::min(fresh_piece_bytes, bytes - offset));
  });
}

}  // namespace

StorageProbe::StorageProbe(const std::vector<CachedFile>& files, const Options& options, Interruption check)
    : files_(some_of(files)), check_(std::move(check)) {
  options_.reader = options.reader;
  options_.threads = options.threads;
  for (const CachedFile& file : files_) bytes_ += file.bytes;
}

double StorageProbe::measure(const StorageSetting& setting) {
  Options options = options_;
  options.slab_bytes = setting.request_bytes;
  options.queue_depth = setting.depth;
  options.staging_bytes = setting.request_bytes * setting.depth;
  Wakeup wakeup;
  std::vector<Fallback> fallbacks;
  // Both before the reader, which goes first: whatever ends this early, reads may be in flight.
  const std::vector<Descriptor> descriptors = open_sample_files(files_, direct_);
  Mapping slabs(options.staging_bytes, "a measurement of storage");
  slabs.populate(0, slabs.size());
  const std::unique_ptr<Reader> reader = make_reader(resolve(options), wakeup, fallbacks);
  reader->use_slabs({slabs.data(), slabs.size()}, fallbacks);
  std::vector<std::uint32_t> numbers;
  numbers.reserve(descriptors.size());
  for (const Descriptor& descriptor : descriptors) numbers.push_back(reader->add_file(descriptor.get()));
  reader_ = reader->kind();

  std::vector<std::uint64_t> free_slabs;  // the one that was used last is taken first
  for (std::uint64_t slab = setting.depth; slab-- > 0;) free_slabs.push_back(slab);
  struct Asked {
    std::size_t file = 0;
    std::uint32_t bytes = 0;
  };
  std::vector<Asked> asked_of(setting.depth);
  std::vector<Done> done;
  std::uint64_t asked = 0;
  std::uint64_t got = 0;
  const Stopwatch stopwatch;
  for (;;) {
    const bool enough = is_enough(asked, bytes_, stopwatch.seconds());
    if (enough && free_slabs.size() == setting.depth) return static_cast<double>(got) / stopwatch.seconds();
    // No load has more in flight than there is.
    while (!enough && !free_slabs.empty() && asked - got < bytes_) {
      const std::uint64_t slab = free_slabs.back();
      free_slabs.pop_back();
      const std::size_t file = next_file_;
      Read read = next_read(setting.request_bytes, numbers[file]);
      read.target = slabs.data() + slab * setting.request_bytes;
      read.tag = slab;
      reader->submit(read);
      asked_of[slab] = {file, read.bytes};
      asked += read.bytes;
    }
    done.clear();
    reader->wait(done, true);
    check_();
    for (const Done& read : done) {
      if (read.error == EINVAL && direct_) {  // some file systems tell only now, having opened the file
        direct_ = false;
        return measure(setting);
      }
      const Asked& was = asked_of[read.tag];
      if (read.error != 0) refuse_sample(files_[was.file].path, "it cannot be read", read.error);
      if (read.bytes < was.bytes) refuse_sample(files_[was.file].path, "it ends earlier than it did", ENODATA);
      got += read.bytes;
      free_slabs.push_back(read.tag);
    }
  }
}

Read StorageProbe::next_read(std::uint64_t request_bytes, std::uint32_t file) {
  const std::uint64_t bytes = std::min(request_bytes, files_[next_file_].bytes - next_offset_);
  Read read{.offset = next_offset_,
            .bytes = static_cast<std::uint32_t>(bytes),
            .file = file,
            .path = direct_ ? ReadPath::direct : ReadPath::buffered,
            .in_slabs = true};
  next_offset_ += bytes;
  if (next_offset_ == files_[next_file_].bytes) {
    next_offset_ = 0;
    next_file_ = (next_file_ + 1) % files_.size();
  }
  return read;
}

double measure_page_cache(const std::vector<CachedFile>& files, unsigned threads, bool into_fresh_memory,
                          const Interruption& check) {
  const std::vector<CachedFile> sample = some_of(files);
  struct Piece {
    int descriptor;
    std::uint64_t offset;
    std::uint64_t bytes;
  };
  const std::uint64_t piece_bytes = into_fresh_memory ? fresh_piece_bytes : hot_slab_bytes;
  const std::uint64_t bytes_max = into_fresh_memory ? bounded_by_memory(sample_bytes_max) : sample_bytes_max;
  std::vector<Descriptor> descriptors;
  std::vector<Piece> pieces;
  std::uint64_t sample_bytes = 0;
  for (const CachedFile& file : sample) {
    descriptors.push_back(open_shard(file.path));
    for (std::uint64_t offset = 0; offset < file.bytes && sample_bytes < bytes_max; offset += piece_bytes) {
      pieces.push_back({descriptors.back().get(), offset, std::min(piece_bytes, file.bytes - offset)});
      sample_bytes += pieces.back().bytes;
    }
  }
  Mapping slabs(into_fresh_memory ? 0 : hot_slab_bytes * threads, "a measurement of the page cache");
  slabs.populate(0, slabs.size());
  return best_rate(sample_bytes, check, [&] {
    const Mapping fresh(into_fresh_memory ? piece_bytes * pieces.size() : 0, "a measurement of the page cache");
    std::atomic<std::size_t> next = 0;
    const Stopwatch stopwatch;
    share_out(threads, threads, [&](std::size_t thread) {
      for (std::size_t i = next++; i < pieces.size(); i = next++) {
        std::byte* const target =
            into_fresh_memory ? fresh.data() + i * piece_bytes : slabs.data() + thread * hot_slab_bytes;
        // Short only where the file has been cut: the loads tell of that.
        [[maybe_unused]] const ssize_t got =
            pread(pieces[i].descriptor, target, pieces[i].bytes, static_cast<off_t>(pieces[i].offset));
      }
    });
    return stopwatch.seconds();
  });
}

double measure_fresh_memory(unsigned threads, const Interruption& check) {
  const std::uint64_t bytes = bounded_by_memory(sample_bytes_max / 4);
  touch_memory(bytes, threads, check);
  return best_rate(bytes, check, [&] {
    Mapping memory(bytes, "a measurement of memory");
    const Stopwatch stopwatch;
    populate(memory, 0, bytes, threads);
    return stopwatch.seconds();
  });
}

void touch_memory(std::uint64_t bytes, unsigned threads, const Interruption& check) {
  const std::uint64_t room = available_memory_bytes() / 2;
  Mapping memory(std::min(bytes, room), "what the load will take");
  constexpr std::uint64_t between_checks = 1ull << 30;
  for (std::uint64_t begin = 0; begin < memory.size(); begin += between_checks) {
    check();
    populate(memory, begin, std::min(between_checks, memory.size() - begin), threads);
  }
}

}  // namespace sluice::tool
