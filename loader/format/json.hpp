// Json: the text of one JSON file and simdjson's parser over it, as strict as serde_json where simdjson is lenient:
// simdjson skips a byte order mark, looks into a value only when asked, and knows no bound on nesting while it passes
// values over. Reused from file to file, so that buffer and parser are allocated once per thread. Not thread-safe.
#pragma once

#include <simdjson.h>

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "loader/base/big_vector.hpp"
#include "sluice/error.hpp"

namespace sluice {

class Json {
 public:
  using Value = simdjson::ondemand::value;
  using Object = simdjson::ondemand::object;
  using Array = simdjson::ondemand::array;
  using Field = simdjson::ondemand::field;

  /// What the text should be.
  struct Kind {
    ErrorCode code;                 // of the Error where it is not
    std::string_view hint;          // of that Error, where it has no other
    bool python_constants = false;  // whether NaN, Infinity and -Infinity are values, which Python writes and reads
  };

  /// Room for the first `bytes` of a file; its first `kept` bytes stay as they were. Valid until the next call.
  char* room(std::size_t bytes, std::size_t kept = 0);

  /// Begins to read bytes [begin, end) of the file as one JSON object. Errors are thrown as `kind` says, with `path`
  /// and the byte in the file. `path` must outlive the reading. Strings that are handed out are valid until the next
  /// open().
  Object open(std::size_t begin, std::size_t end, const Kind& kind, const std::filesystem::path& path);
  /// Once the object has been walked to its end: refuses anything but white space behind it.
  void close();

  /// A key, or a value that is a string, unescaped. Where nothing in it is escaped, as in nearly all, it is not copied
  /// but lies in what room() gave.
  std::string_view key_of(Field& field);
  simdjson::simdjson_result<std::string_view> string_of(Value value);

  /// The value, or an Error that says what is wrong with the text here.
  template <typename T>
  T take(simdjson::simdjson_result<T>&& result) {
    T value;
    if (const auto error = std::move(result).get(value)) [[unlikely]]
      fail(error);
    return value;
  }
  void check(simdjson::error_code error) {
    if (error) [[unlikely]]
      fail(error);
  }

  /// Reads `value`, which lies in `depth` objects and arrays, to its end and validates all of it. Refuses numbers that
  /// simdjson takes for infinite. serde_json, which rounds otherwise, takes a few more for infinite: here they pass,
  /// since nobody uses them.
  void pass_over(Value value, unsigned depth);

  bool is_null(Value value);

  /// Where `key`'s quote stands, in bytes from the beginning of the file.
  std::size_t offset_of(simdjson::ondemand::raw_json_string key) const noexcept {
    return static_cast<std::size_t>(key.raw() - buffer_.data()) - 1;
  }

  [[noreturn]] void fail(std::string message, std::size_t offset, std::string_view tensor = {},
                         std::string hint = {}) const;
  /// At the place that is read now.
  [[noreturn]] void fail_here(std::string message, std::string_view tensor = {});

 private:
  [[noreturn]] void fail(simdjson::error_code error);
  /// What stands between the quotes, if it means itself. open() has seen to it that every string is closed and holds
  /// neither control characters nor what is not UTF-8.
  std::optional<std::string_view> plain_text(const char* string) const noexcept;

  simdjson::ondemand::parser parser_;
  simdjson::ondemand::document document_;
  BigVector<char> buffer_;
  std::size_t end_ = 0;
  Kind kind_{ErrorCode::bad_header, {}};
  const std::filesystem::path* path_ = nullptr;
};

}  // namespace sluice
