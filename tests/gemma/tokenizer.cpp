#include "tokenizer.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <stdexcept>
#include <system_error>

namespace {

constexpr std::string_view space = "\xE2\x96\x81";  // U+2581, as which vocabularies spell a blank

// "<0x41>", as vocabularies spell the byte 0x41.
std::string byte_name(unsigned char byte) {
  constexpr char digits[] = "0123456789ABCDEF";
  return std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">";
}

std::string with_spaces(std::string_view text) {
  std::string result;
  for (const char c : text) c == ' ' ? result += space : result += c;
  return result;
}

// How many bytes the first letter has in UTF-8. At least one, also of what is none.
std::size_t letter_length(std::string_view text) {
  std::size_t length = 1;
  while (length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) ++length;
  return length;
}

// Of two neighbours in one text.
std::string_view together(std::string_view left, std::string_view right) {
  return {left.data(), left.size() + right.size()};
}

// Turns a line's text into what it stands for, in its place.
std::string_view unescape(char* const begin, const char* const end) {
  char* to = begin;
  for (const char* from = begin; from != end; ++from) {
    char c = *from;
    if (c == '\\' && from + 1 != end) {
      c = *++from;
      c = c == 'n' ? '\n' : c == 'r' ? '\r' : c;
    }
    *to++ = c;
  }
  return {begin, static_cast<std::size_t>(to - begin)};
}

}  // namespace

Tokenizer::Tokenizer(const std::filesystem::path& vocabulary) {
  std::ifstream file(vocabulary, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read the vocabulary " + vocabulary.string());
  file_.resize(std::filesystem::file_size(vocabulary));
  file.read(file_.data(), static_cast<std::streamsize>(file_.size()));

  const auto lines = static_cast<std::size_t>(std::count(file_.begin(), file_.end(), '\n'));
  tokens_.reserve(lines);
  numbers_.reserve(lines);
  char* line = file_.data();
  for (std::size_t i = 0; i < lines; ++i) {
    char* const end = std::find(line, file_.data() + file_.size(), '\n');
    int type = 0;
    float score = 0;
    const auto [type_end, type_error] = std::from_chars(line, end, type);
    const auto [score_end, score_error] = std::from_chars(std::min<const char*>(type_end + 1, end), end, score);
    if (type_error != std::errc() || score_error != std::errc() || score_end == end) {
      throw std::runtime_error(vocabulary.string() + ": line " + std::to_string(i + 1) + " is no token");
    }
    const std::string_view text = unescape(line + (score_end + 1 - line), end);
    tokens_.push_back({text, score, static_cast<Type>(type)});
    numbers_.emplace(text, static_cast<int>(i));
    if (tokens_.back().type == Type::user_defined) longest_user_defined_ = std::max(longest_user_defined_, text.size());
    line = end + 1;
  }
}

std::vector<int> Tokenizer::encode(std::string_view text) const {
  const std::string spelled = with_spaces(text);
  std::vector<Symbol> symbols = split(spelled);
  merge(symbols);
  std::vector<int> result = {number("<bos>")};
  for (const Symbol& symbol : symbols) {
    if (const auto found = numbers_.find(symbol.text); found != numbers_.end()) {
      result.push_back(found->second);
    } else {
      for (const char byte : symbol.text) result.push_back(number(byte_name(static_cast<unsigned char>(byte))));
    }
  }
  return result;
}

// Into user-defined tokens, and letters between them.
std::vector<Tokenizer::Symbol> Tokenizer::split(std::string_view text) const {
  std::vector<Symbol> symbols;
  while (!text.empty()) {
    const std::size_t whole = user_defined_length(text);
    const std::size_t length = whole > 0 ? whole : letter_length(text);
    symbols.push_back({text.substr(0, length), whole > 0});
    text.remove_prefix(length);
  }
  return symbols;
}

// Of the longest user-defined token with which the text begins; 0 if there is none.
std::size_t Tokenizer::user_defined_length(std::string_view text) const {
  for (std::size_t length = std::min(text.size(), longest_user_defined_); length > 0; --length) {
    const auto found = numbers_.find(text.substr(0, length));
    if (found == numbers_.end()) continue;
    if (tokens_[static_cast<std::size_t>(found->second)].type == Type::user_defined) return length;
  }
  return 0;
}

// Again and again the two neighbours that make the token with the best score, the first of them if there are several.
// Looks at all pairs each time, which is quick enough for a prompt; a long text wants a queue of pairs.
void Tokenizer::merge(std::vector<Symbol>& symbols) const {
  for (;;) {
    std::size_t best = symbols.size();
    float best_score = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      if (symbols[i].is_whole || symbols[i + 1].is_whole) continue;
      const auto found = numbers_.find(together(symbols[i].text, symbols[i + 1].text));
      if (found == numbers_.end()) continue;
      const float score = tokens_[static_cast<std::size_t>(found->second)].score;
      if (best == symbols.size() || score > best_score) {
        best = i;
        best_score = score;
      }
    }
    if (best == symbols.size()) return;
    symbols[best].text = together(symbols[best].text, symbols[best + 1].text);
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
}

std::string Tokenizer::decode(int token) const {
  const Token& found = tokens_.at(static_cast<std::size_t>(token));
  if (found.type == Type::control) return {};
  if (found.type == Type::byte) {
    unsigned byte = 0;
    std::from_chars(found.text.data() + 3, found.text.data() + 5, byte, 16);  // "<0x41>"
    return {static_cast<char>(byte)};
  }
  std::string text;
  for (std::string_view left = found.text; !left.empty();) {
    const bool blank = left.starts_with(space);
    text += blank ? ' ' : left.front();
    left.remove_prefix(blank ? space.size() : 1);
  }
  return text;
}

bool Tokenizer::ends(int token) const {
  return token == number("<eos>") || token == number("<end_of_turn>");
}

int Tokenizer::number(std::string_view text) const {
  const auto found = numbers_.find(text);
  if (found == numbers_.end()) throw std::runtime_error("the vocabulary lacks " + std::string(text));
  return found->second;
}
