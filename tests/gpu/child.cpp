#include "tests/gpu/child.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "loader/base/stopwatch.hpp"

namespace sluice::gpu_check {

namespace {

std::string content(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string last_line(const std::string& text) {
  const std::size_t end = text.find_last_not_of(" \n");
  if (end == std::string::npos) return "";
  const std::size_t before = text.rfind('\n', end);
  return text.substr(before + 1, end - before);
}

void replace_descriptor(int descriptor, const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0 || dup2(file, descriptor) < 0) _exit(126);
}

[[noreturn]] void become(const Child& child, const std::string& out, const std::string& err) {
  setpgid(0, 0);  // so that its own children end with it
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  replace_descriptor(STDOUT_FILENO, out);
  replace_descriptor(STDERR_FILENO, err);
  for (const auto& [name, value] : child.environment) setenv(name.c_str(), value.c_str(), 1);
  std::vector<char*> arguments;
  for (const std::string& argument : child.command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  execv(arguments[0], arguments.data());
  dprintf(STDERR_FILENO, "cannot be run: %s\n", std::strerror(errno));
  _exit(127);
}

}  // namespace

std::string Ended::last_words() const {
  if (!in_time) return fmt::format("did not end in {:.0f} s", seconds);
  const std::string words = last_line(err);
  return words.empty() ? last_line(out) : words;
}

Ended run_child(const Child& child, const std::filesystem::path& log) {
  const std::string out = log.string() + ".out";
  const std::string err = log.string() + ".err";
  const Stopwatch stopwatch;
  const pid_t process = fork();
  if (process < 0) throw std::runtime_error(fmt::format("no process can be started: {}", std::strerror(errno)));
  if (process == 0) become(child, out, err);

  Ended ended;
  int state = 0;
  while (waitpid(process, &state, WNOHANG) == 0) {
    if (stopwatch.seconds() > child.seconds_max) {
      ended.in_time = false;
      kill(-process, SIGKILL);
      waitpid(process, &state, 0);
      break;
    }
    usleep(2'000);
  }
  ended.seconds = stopwatch.seconds();
  ended.status = WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state);
  ended.out = content(out);
  ended.err = content(err);
  return ended;
}

}  // namespace sluice::gpu_check
