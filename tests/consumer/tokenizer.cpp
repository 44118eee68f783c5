#include "tokenizer.hpp"

#include <cctype>
#include <fstream>
#include <stdexcept>

Tokenizer::Tokenizer(const std::filesystem::path& vocabulary) {
  std::ifstream lines(vocabulary);
  if (!lines) throw std::runtime_error("cannot read the vocabulary " + vocabulary.string());
  for (std::string line; std::getline(lines, line);) numbers_.emplace(line, static_cast<int>(numbers_.size()));
}

std::vector<int> Tokenizer::tokens(std::string_view text) const {
  std::vector<int> tokens = {number("[CLS]")};
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) add_pieces(word, tokens);
    word.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isspace(byte)) {
      end_word();
    } else if (std::ispunct(byte)) {  // every punctuation mark is a word of its own
      end_word();
      word = c;
      end_word();
    } else {
      word += static_cast<char>(std::tolower(byte));
    }
  }
  end_word();
  tokens.push_back(number("[SEP]"));
  return tokens;
}

// Greedy: the longest piece that the vocabulary has, again and again; pieces inside a word are spelt "##piece".
void Tokenizer::add_pieces(std::string_view word, std::vector<int>& tokens) const {
  const std::size_t tokens_before = tokens.size();
  for (std::size_t begin = 0; begin < word.size();) {
    std::size_t end = word.size();
    for (; end > begin; --end) {
      const auto found = numbers_.find((begin == 0 ? "" : "##") + std::string(word.substr(begin, end - begin)));
      if (found == numbers_.end()) continue;
      tokens.push_back(found->second);
      break;
    }
    if (end == begin) {  // no piece fits: the word as a whole is unknown
      tokens.resize(tokens_before);
      tokens.push_back(number("[UNK]"));
      return;
    }
    begin = end;
  }
}

int Tokenizer::number(const std::string& token) const {
  const auto found = numbers_.find(token);
  if (found == numbers_.end()) throw std::runtime_error("the vocabulary lacks " + token);
  return found->second;
}
