#include "loader/base/file_identity.hpp"

namespace sluice {
namespace {

FileTime time_of(const timespec& time) noexcept {
  return {time.tv_sec, time.tv_nsec};
}

}  // namespace

FileIdentity identity_of(const struct stat& status) noexcept {
  FileIdentity identity;
  identity.device = status.st_dev;
  identity.number = status.st_ino;
  identity.links = status.st_nlink;
  identity.bytes = static_cast<std::uint64_t>(status.st_size);
  identity.written = time_of(status.st_mtim);
  identity.changed = time_of(status.st_ctim);
  return identity;
}

bool is_unwritten(const FileIdentity& before, const FileIdentity& now) noexcept {
  return before.bytes == now.bytes && before.written == now.written;
}

SameFile is_same_file(const FileIdentity& before, const FileIdentity& now) noexcept {
  if (!is_unwritten(before, now)) return SameFile::no;
  const bool same_place = before.device == now.device && before.number == now.number;
  const bool same_change = before.changed == now.changed;
  if (same_place && same_change) return SameFile::yes;
  // A copy that was renamed into the file's place differs in both, though its size and its time of writing may not.
  return same_place || same_change ? SameFile::perhaps : SameFile::no;
}

}  // namespace sluice
