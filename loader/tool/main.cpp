// sluice: the command line tool. Parses, runs one command, and turns whatever went wrong into one line on standard
// error and an exit status: 0 done, 1 the input or the machine is at fault, 2 wrong usage, 128 + signal interrupted.
#include <unistd.h>

#include <csignal>
#include <exception>
#include <new>
#include <string>
#include <variant>

#include "loader/tool/arguments.hpp"
#include "loader/tool/commands.hpp"
#include "loader/tool/interrupts.hpp"
#include "loader/tool/output.hpp"
#include "sluice/error.hpp"

namespace sluice::tool {

namespace {

constexpr int status_done = 0;
constexpr int status_fault = 1;
constexpr int status_usage = 2;
constexpr int status_signal = 128;

void run(const Arguments& arguments, Output& output, Interrupts& interrupts) {
  switch (arguments.command) {
    case Command::inspect:
      return inspect(arguments, output);
    case Command::plan:
      return plan(arguments, output);
    case Command::load:
      return load(arguments, output, interrupts);
    case Command::bench:
      return bench(arguments, output, interrupts);
    case Command::bench_link:
      return bench_link(arguments, output);
    case Command::doctor:
      return doctor(arguments, output);
  }
}

int fail(int status, const std::string& message) {
  diagnose(message);
  return status;
}

// Wrong usage is what is wrong whatever the checkpoint is. A slice that does not fit names its tensor: the command line
// was understood, the checkpoint is another one. So it is with a request that a rules file has become.
int status_of(const Error& error, const Arguments& arguments) {
  if (error.code() == ErrorCode::bad_rules) return status_usage;
  const bool usage = error.code() == ErrorCode::invalid_argument && error.tensor().empty() && arguments.rules.empty();
  return usage ? status_usage : status_fault;
}

int run(int argc, const char* const* argv) {
  const std::variant<Arguments, Answer> parsed = parse_arguments(argc, argv);
  Output output(STDOUT_FILENO);
  if (const auto* answer = std::get_if<Answer>(&parsed)) {
    output.write(*answer);
    output.finish();
    return status_done;
  }
  Interrupts interrupts;
  const Arguments& arguments = std::get<Arguments>(parsed);
  try {
    run(arguments, output, interrupts);
  } catch (const Error& error) {
    return fail(status_of(error, arguments), error.what());
  }
  output.finish();
  return status_done;
}

int guarded_run(int argc, const char* const* argv) {
  try {
    return run(argc, argv);
  } catch (const UsageError& error) {
    return fail(status_usage, error.what());
  } catch (const Interrupted& interrupted) {
    return fail(status_signal + interrupted.signal(), "interrupted; nothing is left behind");
  } catch (const std::bad_alloc&) {
    return fail(status_fault, "out of memory; free some, or load less at a time with --select");
  } catch (const std::exception& error) {
    return fail(status_fault, error.what());
  }
}

}  // namespace

}  // namespace sluice::tool

int main(int argc, char** argv) {
  // A reader that is gone, or a file at the limit of its size, shows as an error of write().
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  sluice::tool::occupy_standard_descriptors();
  return sluice::tool::guarded_run(argc, argv);
}
