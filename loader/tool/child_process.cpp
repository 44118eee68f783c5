#include "loader/tool/child_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <system_error>

#include "loader/base/stopwatch.hpp"
#include "loader/tool/descriptor.hpp"
#include "sluice/error.hpp"

namespace sluice::tool {

namespace {

[[noreturn]] void refuse_child(const char* call, int error) {
  throw Error(ErrorCode::system,
              fmt::format("no process can be started to measure: {}: {}", call, std::generic_category().message(error)),
              {}, "raise the limits of processes and descriptors (ulimit -u, ulimit -n), or free memory");
}

/// What posix_spawn is to do in the child before the tool begins.
class SpawnActions {
 public:
  SpawnActions(const Descriptor& output, const Descriptor& message) {
    posix_spawn_file_actions_init(&files_);
    posix_spawn_file_actions_addopen(&files_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files_, output.get(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files_, message.get(), STDERR_FILENO);
    posix_spawnattr_init(&attributes_);
    // This process blocks the signals that its Interrupts take; what it starts begins as any other process does.
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK);
  }
  ~SpawnActions() {
    posix_spawn_file_actions_destroy(&files_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;

  /// Fails with an errno.
  int spawn(pid_t& child, const std::vector<std::string>& arguments) const {
    std::vector<char*> words;
    words.reserve(arguments.size() + 2);
    std::string name = "sluice";
    words.push_back(name.data());
    for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
    words.push_back(nullptr);
    return posix_spawn(&child, "/proc/self/exe", &files_, &attributes_, words.data(), environ);
  }

 private:
  posix_spawn_file_actions_t files_;
  posix_spawnattr_t attributes_;
};

Descriptor memory_file(const char* name) {
  Descriptor file(memfd_create(name, MFD_CLOEXEC));
  if (!file.is_open()) refuse_child("memfd_create", errno);
  return file;
}

std::string content_of(const Descriptor& file) {
  const off_t bytes = lseek(file.get(), 0, SEEK_END);
  std::string content(bytes > 0 ? static_cast<std::size_t>(bytes) : 0, '\0');
  std::size_t got = 0;
  while (got < content.size()) {
    const ssize_t more = pread(file.get(), content.data() + got, content.size() - got, static_cast<off_t>(got));
    if (more < 0 && errno == EINTR) continue;
    if (more <= 0) refuse_child("pread", more < 0 ? errno : ENODATA);
    got += static_cast<std::size_t>(more);
  }
  return content;
}

/// "sluice: what happened\n" -> "what happened".
std::string without_frame(std::string_view line) {
  constexpr std::string_view frame = "sluice: ";
  if (line.starts_with(frame)) line.remove_prefix(frame.size());
  while (line.ends_with('\n')) line.remove_suffix(1);
  return std::string(line);
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

}  // namespace

ChildProcess::ChildProcess() {
  signal(SIGCHLD, SIG_DFL);  // where whoever started this process ignores it, children end unseen
}

ChildResult ChildProcess::run(const std::vector<std::string>& arguments) {
  const Descriptor output = memory_file("sluice-output");
  const Descriptor message = memory_file("sluice-message");
  const SpawnActions actions(output, message);
  ChildResult result;
  pid_t child = 0;
  const Stopwatch stopwatch;
  {
    const MutexLock lock(mutex_);
    if (const int error = actions.spawn(child, arguments)) refuse_child("posix_spawn", error);
    running_ = child;
    if (ended_) kill(child, SIGTERM);
  }
  // First without taking it out of the table of processes: until then its number is no other's, and end() may use it.
  siginfo_t about = {};
  while (waitid(P_PID, static_cast<id_t>(child), &about, WEXITED | WNOWAIT) != 0 && errno == EINTR) continue;
  result.seconds = stopwatch.seconds();
  {
    const MutexLock lock(mutex_);
    running_ = 0;
  }
  int status = 0;
  rusage usage = {};
  while (wait4(child, &status, 0, &usage) < 0 && errno == EINTR) continue;
  result.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  result.cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
  result.output = content_of(output);
  result.message = without_frame(content_of(message));
  return result;
}

void ChildProcess::end() noexcept {
  const MutexLock lock(mutex_);
  ended_ = true;
  if (running_ > 0) kill(running_, SIGTERM);
}

}  // namespace sluice::tool
