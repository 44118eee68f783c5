// FuseMount: a read-only FUSE file system over one folder, whose files keep contents, size and times, and bear what
// numbers a test wants. Answers on a thread of its own, with the kernel's protocol alone (linux/fuse.h).
#pragma once

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/fallbacks/mounts.hpp"

namespace sluice {

enum class Numbers : std::uint8_t {
  anew_each_time,  // as file systems do that forget what they have shown
  all_the_same,    // as exports of several disks through one mount can
};

class FuseMount {
 public:
  FuseMount(std::filesystem::path folder, std::filesystem::path place, Numbers numbers)
      : place_(std::move(place)), numbers_(numbers), device_(open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
    paths_.push_back(std::move(folder));
    if (device_ < 0) {
      refusal_ = std::string("FUSE may not be had: ") + std::strerror(errno);
      return;
    }
    mount_.emplace("fuse", place_, "fd=" + std::to_string(device_) + ",rootmode=40000,user_id=0,group_id=0");
    refusal_ = mount_->refusal();
    if (refusal_.empty()) server_ = std::thread([this] { serve(); });
  }
  ~FuseMount() {
    if (server_.joinable()) umount2(place_.c_str(), MNT_FORCE);  // the server reads no more, whatever is still open
    mount_.reset();
    if (server_.joinable()) server_.join();
    if (device_ >= 0) close(device_);
  }
  FuseMount(const FuseMount&) = delete;
  FuseMount& operator=(const FuseMount&) = delete;

  /// Empty where it is mounted.
  const std::string& refusal() const noexcept { return refusal_; }

 private:
  using Bytes = std::vector<std::byte>;

  template <typename T>
  static Bytes bytes_of_struct(const T& value) {
    const auto* const begin = reinterpret_cast<const std::byte*>(&value);
    return {begin, begin + sizeof value};
  }

  template <typename T>
  static T read_struct(std::span<const std::byte> body) {
    T value{};
    std::memcpy(&value, body.data(), std::min(sizeof value, body.size()));
    return value;
  }

  void serve() {
    std::vector<std::byte> request(1 << 18);
    for (;;) {
      const ssize_t got = read(device_, request.data(), request.size());
      if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) continue;
      if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) return;  // unmounted
      const auto in = read_struct<fuse_in_header>(request);
      if (in.opcode == FUSE_FORGET || in.opcode == FUSE_BATCH_FORGET || in.opcode == FUSE_INTERRUPT) continue;
      Bytes body;
      const int error = answer(in, std::span(request).first(static_cast<std::size_t>(got)).subspan(sizeof in), body);
      if (error != 0) body.clear();
      fuse_out_header out{};
      out.len = static_cast<std::uint32_t>(sizeof out + body.size());
      out.error = -error;
      out.unique = in.unique;
      Bytes reply = bytes_of_struct(out);
      reply.insert(reply.end(), body.begin(), body.end());
      [[maybe_unused]] const ssize_t sent = write(device_, reply.data(), reply.size());
    }
  }

  int answer(const fuse_in_header& in, std::span<const std::byte> request, Bytes& body) {
    switch (in.opcode) {
      case FUSE_INIT:
        body = bytes_of_struct(init());
        return 0;
      case FUSE_LOOKUP:
        return look_up(in.nodeid, reinterpret_cast<const char*>(request.data()), body);
      case FUSE_GETATTR: {
        fuse_attr_out out{};
        const int error = attributes(in.nodeid, out.attr);
        body = bytes_of_struct(out);
        return error;
      }
      case FUSE_OPEN:
      case FUSE_OPENDIR:
        body = bytes_of_struct(fuse_open_out{});
        return 0;
      case FUSE_READ:
        return read_file(in.nodeid, read_struct<fuse_read_in>(request), body);
      case FUSE_READDIR:
        return list(in.nodeid, read_struct<fuse_read_in>(request), body);
      case FUSE_RELEASE:
      case FUSE_RELEASEDIR:
      case FUSE_FLUSH:
        return 0;
      default:
        return ENOSYS;
    }
  }

  static fuse_init_out init() {
    fuse_init_out out{};
    out.major = FUSE_KERNEL_VERSION;
    out.minor = 31;
    out.max_readahead = 1 << 20;
    out.max_write = 1 << 17;
    out.time_gran = 1;
    return out;
  }

  // Nothing that is found may be kept: the kernel looks everything up whenever it meets it.
  int look_up(std::uint64_t folder, const char* name, Bytes& body) {
    const std::filesystem::path path = path_of(folder) / name;
    struct stat status {};
    if (stat(path.c_str(), &status) != 0) return errno;
    paths_.push_back(path);
    fuse_entry_out out{};
    out.nodeid = paths_.size();
    const int error = attributes(out.nodeid, out.attr);
    body = bytes_of_struct(out);
    return error;
  }

  int attributes(std::uint64_t node, fuse_attr& attr) const {
    struct stat status {};
    if (stat(path_of(node).c_str(), &status) != 0) return errno;
    attr.ino = node == FUSE_ROOT_ID || numbers_ == Numbers::anew_each_time ? node : 7;
    attr.size = static_cast<std::uint64_t>(status.st_size);
    attr.blocks = static_cast<std::uint64_t>(status.st_blocks);
    attr.mtime = static_cast<std::uint64_t>(status.st_mtim.tv_sec);
    attr.mtimensec = static_cast<std::uint32_t>(status.st_mtim.tv_nsec);
    attr.ctime = static_cast<std::uint64_t>(status.st_ctim.tv_sec);
    attr.ctimensec = static_cast<std::uint32_t>(status.st_ctim.tv_nsec);
    attr.mode = status.st_mode;
    attr.nlink = 1;
    attr.blksize = 4096;
    return 0;
  }

  int read_file(std::uint64_t node, const fuse_read_in& wanted, Bytes& body) const {
    const int file = open(path_of(node).c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno;
    body.resize(wanted.size);
    const ssize_t got = pread(file, body.data(), body.size(), static_cast<off_t>(wanted.offset));
    const int error = got < 0 ? errno : 0;
    close(file);
    body.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return error;
  }

  int list(std::uint64_t node, const fuse_read_in& wanted, Bytes& body) const {
    std::uint64_t number = 0;
    for (const auto& file : std::filesystem::directory_iterator(path_of(node))) {
      if (number++ < wanted.offset) continue;
      const std::string name = file.path().filename().string();
      fuse_dirent entry{};
      entry.ino = 1000 + number;
      entry.off = number;
      entry.namelen = static_cast<std::uint32_t>(name.size());
      entry.type = S_IFREG >> 12;
      const std::size_t length = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name.size());
      if (body.size() + length > wanted.size) break;
      const std::size_t at = body.size();
      body.resize(at + length);
      std::memcpy(body.data() + at, &entry, FUSE_NAME_OFFSET);
      std::memcpy(body.data() + at + FUSE_NAME_OFFSET, name.data(), name.size());
    }
    return 0;
  }

  const std::filesystem::path& path_of(std::uint64_t node) const { return paths_.at(node - 1); }

  const std::filesystem::path place_;
  const Numbers numbers_;
  int device_;
  std::deque<std::filesystem::path> paths_;  // by node, from FUSE_ROOT_ID on
  std::string refusal_;
  std::optional<Mount> mount_;
  std::thread server_;
};

}  // namespace sluice
