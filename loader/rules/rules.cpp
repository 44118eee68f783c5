#include "sluice/rules.hpp"

#include <fmt/format.h>

#include <vector>

#include "loader/base/limits.hpp"
#include "loader/format/input_file.hpp"
#include "loader/rules/expansion.hpp"
#include "loader/rules/name_index.hpp"
#include "loader/rules/parser.hpp"
#include "loader/rules/rules_text.hpp"
#include "sluice/error.hpp"

namespace sluice {
namespace {

void check_bytes(std::uint64_t bytes, const std::string& name) {
  if (bytes <= limits::rules_bytes_max) return;
  throw Error(ErrorCode::limit_exceeded,
              fmt::format("the rules have {} bytes, more than {} (rules_bytes_max in sluice/limits.hpp)", bytes,
                          limits::rules_bytes_max),
              {name, {}, {}}, "write loops instead of lines");
}

}  // namespace

Request parse_rules(std::string_view text, const Checkpoint& checkpoint, const RulesOptions& options,
                    const std::string& name) {
  check_bytes(text.size(), name);
  const rules::RulesText rules(name, text);
  rules::Symbols symbols;
  const std::vector<rules::Statement> statements = rules::parse(rules, symbols);
  const rules::NameIndex names(checkpoint);
  return rules::expand(rules, statements, symbols, names, options);
}

Request read_rules(const std::filesystem::path& path, const Checkpoint& checkpoint, const RulesOptions& options) {
  const InputFile file(path, "rules file");
  check_bytes(file.bytes(), path.string());
  std::string text(file.bytes(), '\0');
  file.read(text.data(), 0, text.size());
  return parse_rules(text, checkpoint, options, path.string());
}

}  // namespace sluice
