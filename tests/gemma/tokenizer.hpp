// Tokenizer: text to the tokens of a SentencePiece vocabulary with scores, and back. Immutable, safe to use from any
// thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

class Tokenizer {
 public:
  /// `vocabulary`: a line per token, in the order of their numbers: type, score and text, with a blank between them.
  /// Types are SentencePiece's; in texts, \n, \r and \\ stand for a line's end and a backslash. Throws
  /// std::runtime_error.
  explicit Tokenizer(const std::filesystem::path& vocabulary);
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;

  /// The token that begins a text, and those of `text`.
  std::vector<int> encode(std::string_view text) const;

  /// The bytes of a token; none for one that only controls. A letter may be spread over several tokens.
  std::string decode(int token) const;

  /// True for a token behind which nothing follows.
  bool ends(int token) const;

 private:
  enum class Type { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
  struct Token {
    std::string_view text;
    float score;
    Type type;
  };
  struct Symbol {
    std::string_view text;
    bool is_whole;  // a user-defined token, which is not merged with others
  };

  std::vector<Symbol> split(std::string_view text) const;
  std::size_t user_defined_length(std::string_view text) const;
  void merge(std::vector<Symbol>& symbols) const;
  int number(std::string_view text) const;

  std::string file_;  // what the tokens' texts are parts of
  std::vector<Token> tokens_;
  std::unordered_map<std::string_view, int> numbers_;
  std::size_t longest_user_defined_ = 0;
};
