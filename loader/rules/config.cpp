#include "loader/rules/config.hpp"

#include <fmt/format.h>

#include <cstddef>

#include "loader/base/limits.hpp"
#include "loader/format/input_file.hpp"
#include "loader/format/json.hpp"
#include "sluice/error.hpp"

namespace sluice::rules {
namespace {

constexpr Json::Kind config_kind{ErrorCode::bad_rules,
                                 "repair the configuration, or give its numbers with let or --set",
                                 /*python_constants=*/true};

class ConfigReader {
 public:
  ConfigReader(Json& json, const std::vector<std::string>& keys) : json_(json), keys_(keys) {}

  std::optional<std::map<std::string, std::int64_t>> run(Json::Object object) && {
    read(object, 0);
    json_.close();
    if (!found_) return std::nullopt;
    return std::move(numbers_);
  }

 private:
  // Reads an object that `depth` keys lead to.
  void read(Json::Object object, std::size_t depth) {
    const bool wanted = depth == keys_.size();
    found_ = found_ || wanted;
    for (auto result : object) {
      auto field = json_.take(std::move(result));
      const std::string key(json_.key_of(field));
      const Json::Value value = field.value();
      if (wanted) {
        read_number(key, value, static_cast<unsigned>(depth) + 1);
      } else if (key == keys_[depth] &&
                 json_.take(Json::Value(value).type()) == simdjson::ondemand::json_type::object) {
        Json::Value inner = value;
        read(json_.take(inner.get_object()), depth + 1);
      } else {
        json_.pass_over(value, static_cast<unsigned>(depth) + 1);
      }
    }
  }

  void read_number(const std::string& key, Json::Value value, unsigned depth) {
    std::int64_t number = 0;
    bool truth = false;
    if (!value.get_int64().get(number)) {
      numbers_[key] = number;
    } else if (!value.get_bool().get(truth)) {
      numbers_[key] = truth ? 1 : 0;
    } else {
      json_.pass_over(value, depth);
    }
  }

  Json& json_;
  const std::vector<std::string>& keys_;
  std::map<std::string, std::int64_t> numbers_;
  bool found_ = false;
};

}  // namespace

std::optional<std::map<std::string, std::int64_t>> read_config(const std::filesystem::path& path,
                                                               const std::vector<std::string>& keys) {
  const InputFile file(path, "configuration");
  if (file.bytes() > limits::rules_bytes_max) {
    throw Error(ErrorCode::limit_exceeded,
                fmt::format("the configuration has {} bytes, more than {} (rules_bytes_max in sluice/limits.hpp)",
                            file.bytes(), limits::rules_bytes_max),
                {path.string(), {}, {}});
  }
  Json json;
  file.read(json.room(file.bytes()), 0, file.bytes());
  return ConfigReader(json, keys).run(json.open(0, file.bytes(), config_kind, path));
}

}  // namespace sluice::rules
