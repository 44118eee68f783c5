// Tokenizer: text to the token numbers of an uncased BERT vocabulary. Immutable, safe to use from any thread.
// Letters outside ASCII are kept as they are, neither lower-cased nor stripped of accents.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

class Tokenizer {
 public:
  /// `vocabulary`: one token a line; a token's number is its line's, from 0. Throws std::runtime_error.
  explicit Tokenizer(const std::filesystem::path& vocabulary);

  /// [CLS], the pieces of `text`, [SEP].
  std::vector<int> tokens(std::string_view text) const;

 private:
  void add_pieces(std::string_view word, std::vector<int>& tokens) const;
  int number(const std::string& token) const;

  std::unordered_map<std::string, int> numbers_;
};
