// Error: everything that data, disk, driver or a wrong argument can cause. The library throws nothing else on purpose
// (std::bad_alloc may pass through), prints nothing and never exits. An Error is a value: copy it, keep it, rethrow it.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "sluice/export.hpp"

namespace sluice {

/// Numbers are unique and stable; a C API will return them.
enum class ErrorCode : int {
  invalid_argument = 1,     // an invalid request, option or name
  not_found = 2,            // no such file or folder
  io = 3,                   // the system refused to open, read or stat
  bad_header = 4,           // the header of a shard is not valid safetensors
  bad_index = 5,            // a *.safetensors.index.json is not valid or does not fit its shards
  unsupported_format = 6,   // another format: pickle, GGUF, ONNX, zip
  limit_exceeded = 7,       // a limit of sluice/limits.hpp was passed
  tensor_not_found = 8,     // a request names a tensor, or a pattern, that the checkpoint does not have
  file_changed = 9,         // a shard was truncated, replaced or written to after it was opened
  out_of_memory = 10,       // less free memory than the plan needs, or an allocation was refused
  device_unavailable = 11,  // no such device, or this build cannot drive it
  reader_unavailable = 12,  // this machine refuses the reader that was asked for
  cancelled = 13,           // the load was cancelled, or its engine destroyed
  system = 14,              // the system refused a thread, an eventfd or another resource
  incomplete = 15,  // a destination that rules do not fill or fill twice, or a tensor that a strict request lacks
  bad_rules = 16,   // a rules file says what it must not, or does not work out with the values it was given
};

/// A stable lower-case name: "bad_header". Static storage.
SLUICE_API std::string_view name(ErrorCode code) noexcept;

/// The places an error can name. Empty or absent where they do not apply.
struct ErrorPlace {
  std::string path;
  std::optional<std::uint64_t> offset;  // in bytes from the beginning of the file `path`
  std::string tensor;
  std::uint32_t line = 0;    // of a rules file, from 1 on; 0 where there is none
  std::uint32_t column = 0;  // in characters, from 1 on
};

/// What happened, where, and what to do about it. what() says all of it on one line, with control characters escaped:
/// "bad header: tensor extends past the end of the file: /m/a.safetensors, byte 120, tensor \"x\"; download the shard
/// again".
class SLUICE_API Error : public std::runtime_error {
 public:
  using Where = ErrorPlace;

  Error(ErrorCode code, std::string message, Where where = {}, std::string hint = {});
  ~Error() override;
  Error(const Error&);
  Error& operator=(const Error&);

  ErrorCode code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }  // what happened, without the place
  const std::string& path() const noexcept { return where_.path; }
  std::optional<std::uint64_t> offset() const noexcept { return where_.offset; }
  const std::string& tensor() const noexcept { return where_.tensor; }
  std::uint32_t line() const noexcept { return where_.line; }
  std::uint32_t column() const noexcept { return where_.column; }
  const std::string& hint() const noexcept { return hint_; }  // what to do about it; may be empty

 private:
  ErrorCode code_;
  std::string message_;
  Where where_;
  std::string hint_;
};

}  // namespace sluice
