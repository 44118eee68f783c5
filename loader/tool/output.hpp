// Output: the one writer of standard output and of files: buffered, and every failure of the system is an OutputError,
// for a listing that was cut short must not look like a whole one. Diagnostics go to standard error by diagnose(). Main
// thread only.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace sluice::tool {

class OutputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Output {
 public:
  /// Throws OutputError at once where `descriptor` is closed or cannot be written, so that no work is done in vain.
  /// `name` is for messages.
  explicit Output(int descriptor, std::string name = "standard output");

  void write(std::string_view text);
  template <typename... Args>
  void print(fmt::format_string<Args...> format, Args&&... args) {
    write(fmt::format(format, std::forward<Args>(args)...));
  }
  /// Writes what is left and closes the descriptor: some file systems tell of a full disk only then. Call it once, at
  /// the end; without it, what is buffered is lost.
  void finish();

 private:
  void flush();

  int descriptor_;
  std::string name_;
  std::string buffer_;
};

/// Throws OutputError: that `name` cannot be written for the reason that an errno gives, and what to do.
[[noreturn]] void refuse_output(const std::string& name, int error);

/// Occupies descriptors 0, 1 and 2 where they are closed, so that no file opened later is taken for a standard stream.
/// What takes their place cannot be written, so that Output still finds standard output closed.
void occupy_standard_descriptors() noexcept;

/// Writes "sluice: `message`" and a newline to standard error in one piece; control characters are escaped.
void diagnose(std::string_view message) noexcept;

}  // namespace sluice::tool
