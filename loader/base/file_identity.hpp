// FileIdentity: what the system tells of a file, kept to recognise the file later or behind another path. Numbers alone
// do not: several disks behind one mount may share them, some network and FUSE file systems number a file anew each
// time that they look it up, and a file that is made takes the number of one that was removed. So device and number
// count together with size and times, and two paths lead to one file only if it says that it has more than one link.
// Plain data.
#pragma once

#include <sys/stat.h>

#include <compare>
#include <cstdint>

namespace sluice {

/// Seconds and nanoseconds stay apart: together in 64 bits they end in the year 2262, while files may bear any date.
struct FileTime {
  std::int64_t seconds = 0;
  std::int64_t nanoseconds = 0;

  friend auto operator<=>(const FileTime&, const FileTime&) = default;
};

struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t number = 0;  // of its inode
  std::uint64_t links = 0;   // paths that lead to it, as far as the file system counts them
  std::uint64_t bytes = 0;
  FileTime written;  // when its bytes last changed (st_mtim), which anybody may set
  FileTime changed;  // when its bytes, owner, mode, name or links last changed (st_ctim), which nobody may set

  friend auto operator<=>(const FileIdentity&, const FileIdentity&) = default;
};

FileIdentity identity_of(const struct stat& status) noexcept;

/// Whether nothing has written to a file between two looks at it through one descriptor.
bool is_unwritten(const FileIdentity& before, const FileIdentity& now) noexcept;

enum class SameFile : std::uint8_t { no, perhaps, yes };

/// Whether a path leads to the file that it led to before, and nothing has written to it. Perhaps: it was numbered
/// anew, or something other than its bytes changed; its content must decide.
SameFile is_same_file(const FileIdentity& before, const FileIdentity& now) noexcept;

}  // namespace sluice
