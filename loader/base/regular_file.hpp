// Opening regular files, and nothing else: what lies at a path is looked at before it is opened, since to open a device
// acts on it, to open a named pipe waits for a writer, and either may come into a file's place at any moment. Where
// another process holds a lease on the file (smbd, nfsd), waits until it lets go; the kernel bounds that wait
// (/proc/sys/fs/lease-break-time, 45 s). No descriptor keeps O_NONBLOCK: io_uring reads such files in the thread that
// submits, whether they block or not. Safe to call from several threads; errors are errnos.
#pragma once

#include <sys/stat.h>

#include <filesystem>

namespace sluice {

struct OpenedFile {
  int descriptor = -1;    // the caller's to close; -1 where nothing was opened
  int error = 0;          // an errno; 0 also where nothing was opened because no regular file lies there
  struct stat status {};  // of what lies there, unless `error` is set
};

/// Opens the regular file at `path` for reading. Takes two descriptors for a moment and keeps one. EAGAIN: somebody
/// holds a lease, and there is no /proc, without which waiting for it could be waiting for ever.
OpenedFile open_regular_file(const std::filesystem::path& path) noexcept;

/// Opens the file that is open as `descriptor` for reading once more, also with `flags`: a descriptor, or -1 and errno.
/// Where there is no /proc, by `path`: ESTALE if that leads to another file by now.
int open_once_more(int descriptor, const std::filesystem::path& path, int flags) noexcept;

}  // namespace sluice
