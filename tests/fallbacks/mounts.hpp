// Mounts of a test's own: in a mount namespace that this process enters, so that nobody else sees them and none is left
// behind. Root enters one; where user namespaces are allowed, ordinary users do as well.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace sluice {

/// Enters a namespace for mounts. Why that is refused; empty where it is not.
inline std::string enter_mount_namespace() {
  const uid_t user = geteuid();
  if (unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0) {
    return std::string("no mount namespace may be had: ") + std::strerror(errno);
  }
  if (user != 0) std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return std::string("mounts may not be made private: ") + std::strerror(errno);
  }
  return "";
}

class Mount {
 public:
  Mount(const char* type, std::filesystem::path place, const std::string& options = "") : place_(std::move(place)) {
    static const std::string refused = enter_mount_namespace();
    refusal_ = refused;
    if (refusal_.empty() && mount(type, place_.c_str(), type, 0, options.c_str()) != 0) {
      refusal_ = std::string(type) + " cannot be mounted: " + std::strerror(errno);
    }
  }
  ~Mount() {
    if (refusal_.empty()) umount2(place_.c_str(), MNT_DETACH);
  }
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

  /// Empty where it is mounted.
  const std::string& refusal() const noexcept { return refusal_; }

 private:
  std::filesystem::path place_;
  std::string refusal_;
};

}  // namespace sluice
