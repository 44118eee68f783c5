// Goal: whatever is in a rules file, reading it gives a request or says what is wrong where, and ends.
// Method: a table of wrong files with the very words of each refusal; files at the limits; the presets of docs/rules/
// with bytes, words and pieces changed at random; more of them by hand:
// SLUICE_SEEDS=100000 build/release/tests/loader_rules_test --gtest_filter='Rules.*'
#include "sluice/rules.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "sluice/limits.hpp"
#include "tests/loader/support/rules_case.hpp"
#include "tests/loader/support/sanitized.hpp"

namespace sluice {
namespace {

using testing::HasSubstr;

struct Wrong {
  const char* rules;
  const char* place;
  const char* message;
};

// One line of the table, and what its refusal says before the hint.
const Wrong wrong_files[] = {
    {"[0]", "1:1", "found '[' where 'use', 'let', 'strict', 'for', 'end', 'tensor' or a tensor's name is expected"},
    {"norm -> x\n", "1:9", "no line 'tensor' above declares \"x\" on host; none is declared there"},
    {"tensor a BF16 [4]\nnorm -> b", "2:9", "no line 'tensor' above declares \"b\" on host; declared there are \"a\""},
    {"norm\nend", "2:1", "an 'end' without a 'for'"},
    {"\nfor l in 0 .. 2\nnorm", "2:1", "the loop has no end"},
    {"for l in 0 2\nend", "1:12", "found '2' where '..' or an operator is expected"},
    {"for l of 0 .. 2\nend", "1:7", "found 'of' where 'in' is expected"},
    {"for 3 in 0 .. 2\nend", "1:5", "found '3' where the name of a variable is expected"},
    {"for l in 0 .. 2\nfor l in 0 .. 2\nend\nend", "2:1", "'l' has a value already: 0 (l = 0)"},
    {"for l in 0 .. 2\nstrict\nend", "2:1", "'strict' in a loop"},
    {"for l in 0 .. 2\nuse config.json\nend", "2:1", "'use' in a loop"},
    {"for l in 0 .. 2\nlet l = 3\nend", "2:5", "'l' has a value already: 0 (l = 0)"},
    {"let q = 4\nlet q = 5", "2:5", "'q' has a value already: 4"},
    {"let q", "1:6", "found the end of the line where '=' is expected"},
    {"let q == 3", "1:7", "found '=' where '=' is expected"},
    {"let group = 3", "1:5", "found 'group' where the name of a variable is expected"},
    {"let q = 3 4", "1:11", "found '4' where the end of the line is expected"},
    {"let q = r", "1:9", "nothing gives 'r' a value; no name has one here"},
    {"let q = 1 / (rank - rank)", "1:11", "1 is divided by 0"},
    {"use ../config.json", "1:5", "'../config.json' is no name of a file beside the checkpoint"},
    {"use", "1:4", "found the end of the line where the name of a file, as config.json is expected"},
    {"use config.json [x]", "1:17", "found '[' where a key, 'optional' or the end of the line is expected"},
    {"tensor", "1:7", "found the end of the line where the name of a destination is expected"},
    {"tensor a* BF16 [4]", "1:8", "'*' in a destination: a*"},
    {"tensor a", "1:9", "found the end of the line where a dtype, as BF16 is expected"},
    {"tensor a BF61 [4]", "1:10", "'BF61' is no dtype"},
    {"tensor a BF16", "1:14", "found the end of the line where '[' and a shape is expected"},
    {"tensor a BF16 [4", "1:17", "found the end of the line where ',', ']' or an operator is expected"},
    {"tensor a BF16 [0 - 4]", "1:16", "a size is -4, which is not from 0 to 9223372036854775807"},
    {"tensor a BF16 [4] group 0 - 1", "1:25", "the group is -1, which is not from 0 to 4294967295"},
    {"tensor a BF16 [4] group 4294967296", "1:25", "the group is 4294967296, which is not from 0 to 4294967295"},
    {"tensor a BF16 [4] group 1 group 2", "1:27", "a second 'group'"},
    {"tensor a BF16 [4] zero keep", "1:24", "a second 'zero' or 'keep'"},
    {"tensor a BF16 [4] cast F32", "1:19",
     "found 'cast' where 'group', 'zero', 'keep', 'on', 'when' or the end of the line is expected"},
    {"tensor a BF16 [4] on gpu", "1:22", "'gpu' is no device"},
    {"tensor a BF16 [4]\n\ntensor a BF16 [4]", "3:8", "the destination \"a\" is on host already, by line 1"},
    {"tensor a.{x} BF16 [4]", "1:11", "nothing gives 'x' a value; no name has one here"},
    {"norm cast", "1:10", "found the end of the line where a dtype, as BF16 is expected"},
    {"norm cast I32", "1:11", "nothing is cast to I32"},
    {"norm cast F32 cast F32", "1:15", "a second 'cast'"},
    {"norm skip cast F32", "1:6", "the rule skips what it also delivers"},
    {"norm[0] skip", "1:9", "the rule skips what it also delivers"},
    {"tensor a BF16 [4]\nnorm -> a group 3", "2:11", "'group' beside '->'"},
    {"tensor a BF16 [4]\nnorm -> a -> a", "2:11", "a second '->'"},
    {"tensor a BF16 [4]\nnorm -> a*", "2:9", "'*' in a destination: a*"},
    {"norm[0] | head", "1:9", "another name behind a slice"},
    {"norm on cuda:0,cuda:1", "1:15",
     "found ',' where '->', 'cast', 'group', 'when', 'on', 'skip', 'optional' or the end of the line is expected"},
    {"norm on host:1", "1:9", "'host:1' is no device"},
    {"norm on c*", "1:9", "'*' in a device: c*"},
    {"norm when", "1:10", "found the end of the line where a number, a name or '(' is expected"},
    {"norm when e", "1:11", "nothing gives 'e' a value; no name has one here"},
    {"l.{e}.q when x", "1:14", "nothing gives 'x' a value; these have one: e (e = 0)"},
    {"norm always", "1:6",
     "found 'always' where '->', 'cast', 'group', 'when', 'on', 'skip', 'optional' or the end of the line is expected"},
    {"norm\nn*m", "2:1", "the rule decides nothing: line 1 has taken \"norm\" already"},
    {"tensor a F32 [4]\ntensor b BF16 [4]\nnorm cast F32 -> a\nnorm -> b", "4:1",
     "the tensor \"norm\" is not cast here, and cast to F32 in line 3"},
    {"norm\\x", "1:5",
     "found '\\' where '->', 'cast', 'group', 'when', 'on', 'skip', 'optional' or the end of the line is expected"},
    {"nörm?", "1:5",
     "found '?' where '->', 'cast', 'group', 'when', 'on', 'skip', 'optional' or the end of the line is expected"},
};

// What reading allows and planning refuses.
const Wrong wrong_requests[] = {
    {"norm[2:9]", "1:1", "slice [2:9]: 7 from 2 on of dimension 0, which has 4"},
    {"head\nl.{l}.q[part 0 of 3]", "2:1", "slice [part 0 of 3]: dimension 0 has 4, which 3 parts do not divide"},
    {"head\n tensor a BF16 [4]\n  norm[0:2] -> a[0:2]", "2:2", "destination \"a\" on host: no rule writes [2:4] of it"},
    {"tensor a BF16 [4]\n\nnorm[0:2] -> a[0:3]", "3:1", "[:2] -> a[:3] on host: counts differ"},
    {"tensor a F32 [4]\nnorm -> a", "2:1", "-> a on host: the tensor is BF16, the destination F32, and the rule casts"},
    {"tensor b BF16 [2, 4]\nl.0.k -> b\nl.1.k -> b", "1:1", "is written twice, by \"l.0.k\" and by \"l.1.k\""},
    {"tensor a BF16 [4]\ntensor b BF16 [4]\nnorm -> a\nnorm[0:2] -> b", "4:1", "[:2] -> b on host: counts differ"},
};

void expect_place(const Error& error, const Wrong& wrong) {
  EXPECT_EQ(std::to_string(error.line()) + ":" + std::to_string(error.column()), wrong.place) << wrong.rules << "\n"
                                                                                              << error.what();
  EXPECT_THAT(error.what(), HasSubstr(std::string(": f.rules:") + wrong.place)) << wrong.rules;
}

TEST(Rules, AreNamedByWhatPlanningRefuses) {
  const RulesCase on;
  for (const Wrong& wrong : wrong_requests) {
    const Error error = error_of([&] { on.plan(wrong.rules); });
    expect_place(error, wrong);
    EXPECT_THAT(error.message(), HasSubstr(wrong.message)) << wrong.rules;
  }
}

TEST(Rules, SayWhatIsWrongAndWhere) {
  const RulesCase on;
  for (const Wrong& wrong : wrong_files) {
    const Error error = on.refusal(wrong.rules);
    EXPECT_EQ(error.code(), ErrorCode::bad_rules) << wrong.rules << "\n" << error.what();
    expect_place(error, wrong);
    EXPECT_EQ(error.message(), wrong.message) << wrong.rules;
  }
}

TEST(Rules, AreReadFromFiles) {
  const RulesCase on;
  const auto path = on.folder().write("my.rules", bytes_of("norm group 2\n"));
  EXPECT_EQ(write_rules(on.checkpoint(), read_rules(path, on.checkpoint())), "norm  group 2  on host\n");
  on.folder().write("my.rules", bytes_of("norm\nnorm!"));
  const Error error = error_of([&] { read_rules(path, on.checkpoint()); });
  EXPECT_EQ(error.path(), path.string());
  EXPECT_EQ(error.line(), 2u);
  EXPECT_EQ(error_of([&] { read_rules(on.folder().path() / "gone", on.checkpoint()); }).code(), ErrorCode::not_found);
  EXPECT_EQ(error_of([&] { read_rules(on.folder().path(), on.checkpoint()); }).code(), ErrorCode::io);
}

TEST(Rules, OfNothingAreARequestOfNothing) {
  const RulesCase on;
  for (const char* const text : {"", "\n\n", "# nothing", "strict", "\xEF\xBB\xBF"}) {
    EXPECT_TRUE(on.request(text).rules().empty()) << text;
  }
}

TEST(Rules, KeepToTheirLimits) {
  const RulesCase on;
  const auto limit = [&](const std::string& text) {
    const Error error = on.refusal(text);
    EXPECT_EQ(error.code(), ErrorCode::limit_exceeded) << error.what();
    return error.message();
  };
  // Loops that would take for ever, of lines that do nothing and of lines that search.
  EXPECT_THAT(limit("for a in 0 .. 1000000000\nfor b in 0 .. 1000000000\nend\nend"), HasSubstr("rules_steps_max"));
  EXPECT_THAT(limit("for a in 0 .. 1000000000000\n*{b}.{c}.x optional\nend"), HasSubstr("rules_steps_max"));
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "for a" + std::to_string(i) + " in 0 .. 1\n";
  EXPECT_THAT(limit(deep), HasSubstr("rules_depth_max"));
  std::string longer = "for l in 0 .. 1000000000000\nlet x = 0";
  for (int i = 0; i < 100'000; ++i) longer += " + 1";
  EXPECT_THAT(limit(longer + "\nend"), HasSubstr("rules_steps_max"));
  const std::string large(limits::rules_bytes_max + 1, '\n');
  EXPECT_THAT(limit(large), HasSubstr("rules_bytes_max"));
}

TEST(Rules, WorkOutADeepSeek) {
  // As many rules as DeepSeek-V3 has for its experts.
  std::vector<TestTensor> tensors;
  for (int l = 0; l < 58; ++l) {
    for (int e = 0; e < 256; ++e) {
      for (const char* const part : {"down", "gate", "up"}) {
        const std::string name =
            "model.layers." + std::to_string(l) + ".mlp.experts." + std::to_string(e) + "." + part + "_proj.weight";
        tensors.push_back({name, Dtype::u8, {1}});
        tensors.push_back({name + "_scale_inv", Dtype::u8, {1}});
      }
    }
  }
  const RulesCase on(tensors);
  const Request request = on.request(
      "for l in 0 .. 58\n"
      "tensor {l}.w13 U8 [256, 2]\ntensor {l}.s13 U8 [256, 2]\ntensor {l}.w2 U8 [256]\ntensor {l}.s2 U8 [256]\n"
      "model.layers.{l}.mlp.experts.{e}.gate_proj.weight -> {l}.w13[e, 0]\n"
      "model.layers.{l}.mlp.experts.{e}.gate_proj.weight_scale_inv -> {l}.s13[e, 0]\n"
      "model.layers.{l}.mlp.experts.{e}.up_proj.weight -> {l}.w13[e, 1]\n"
      "model.layers.{l}.mlp.experts.{e}.up_proj.weight_scale_inv -> {l}.s13[e, 1]\n"
      "model.layers.{l}.mlp.experts.{e}.down_proj.weight -> {l}.w2[e]\n"
      "model.layers.{l}.mlp.experts.{e}.down_proj.weight_scale_inv -> {l}.s2[e]\n"
      "end\nstrict\n");
  EXPECT_EQ(request.rules().size(), 89'088u);
  EXPECT_TRUE(check(on.checkpoint(), request).empty());
}

// The files of docs/rules/.
std::vector<std::string> presets() {
  std::vector<std::string> texts;
  for (const auto& entry : std::filesystem::directory_iterator(SLUICE_RULES_FOLDER)) {
    std::ifstream file(entry.path());
    texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  std::sort(texts.begin(), texts.end());
  return texts;
}

class Mutator {
 public:
  Mutator(std::vector<std::string> texts, std::uint64_t seed) : texts_(std::move(texts)), random_(seed) {}

  std::string next() {
    std::string text = texts_[draw(texts_.size())];
    for (std::size_t changes = draw(4); changes > 0; --changes) change(text);
    return text;
  }
  std::size_t draw(std::size_t count) { return random_() % count; }

 private:
  void change(std::string& text) {
    static const std::vector<std::string> words = {"->",
                                                   "[",
                                                   "]",
                                                   "(",
                                                   ")",
                                                   "{",
                                                   "}",
                                                   "*",
                                                   "|",
                                                   "..",
                                                   ":",
                                                   ",",
                                                   "=",
                                                   "==",
                                                   "\"",
                                                   "#",
                                                   "-",
                                                   "/",
                                                   "%",
                                                   " 0 ",
                                                   " 1 ",
                                                   "9223372036854775807",
                                                   "-1",
                                                   "for x in 0 .. 300\n",
                                                   "end\n",
                                                   "let a = ",
                                                   "tensor ",
                                                   "use config.json\n",
                                                   "part 0 of 0",
                                                   " as [",
                                                   " order (",
                                                   " group ",
                                                   " when ",
                                                   " cast F32 ",
                                                   " skip ",
                                                   " optional ",
                                                   " on cuda:1 ",
                                                   "has(",
                                                   "default(x, ",
                                                   "\n",
                                                   "\\",
                                                   "\x80",
                                                   std::string(1, '\0')};
    const std::size_t at = draw(text.size() + 1);
    switch (draw(5)) {
      case 0:
        text.insert(at, words[draw(words.size())]);
        break;
      case 1:
        text.erase(at, draw(20));
        break;
      case 2:
        text.replace(at, draw(8), words[draw(words.size())]);
        break;
      case 3:  // a piece of another file
      {
        const std::string& other = texts_[draw(texts_.size())];
        text.insert(at, other.substr(draw(other.size()), draw(80)));
        break;
      }
      default:
        if (at < text.size()) text[at] = static_cast<char>(random_());
    }
  }

  const std::vector<std::string> texts_;
  std::mt19937_64 random_;
};

TEST(Rules, SurviveWhatIsNoRulesFile) {
  const std::string config = R"({"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 4, "head_dim": 2,
      "num_key_value_heads": 2, "intermediate_size": 4, "vocab_size": 8, "num_experts": 4, "num_local_experts": 4,
      "moe_intermediate_size": 4, "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1,
      "q_lora_rank": 4, "kv_lora_rank": 4, "qk_nope_head_dim": 2, "qk_rope_head_dim": 2, "v_head_dim": 2})";
  std::vector<TestTensor> tensors = RulesCase::some();
  // Of a Llama that the first preset fits.
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const std::string name : {"self_attn.q_proj.weight", "self_attn.o_proj.weight"}) {
      tensors.push_back({layer + name, bf16, {8, 8}});
    }
    for (const std::string name :
         {"self_attn.k_proj.weight", "self_attn.v_proj.weight", "mlp.gate_proj.weight", "mlp.up_proj.weight"}) {
      tensors.push_back({layer + name, bf16, {4, 8}});
    }
    tensors.push_back({layer + "mlp.down_proj.weight", bf16, {8, 4}});
    tensors.push_back({layer + "input_layernorm.weight", bf16, {8}});
  }
  tensors.push_back({"model.embed_tokens.weight", bf16, {8, 8}});
  tensors.push_back({"model.norm.weight", bf16, {8}});
  const RulesCase on(tensors, config);
  std::vector<std::string> texts = presets();
  ASSERT_EQ(texts.size(), 5u);
  const std::string fits =
      "tensor t BF16 [8, 4] zero\nembed[1:7] as [8, 4] order (0, 1) -> t[1:7]\nl.{l}.e.{e}.* when e % 2 skip\n*\n";
  texts.insert(texts.end(), texts.size(), fits);  // as often as all others together
  Mutator mutator(texts, 1);
  std::size_t read = 0;
  const char* const wish = std::getenv("SLUICE_SEEDS");
  const int files = wish == nullptr ? (sanitized ? 500 : 3000) : std::atoi(wish);
  for (int i = 0; i < files; ++i) {
    const std::string text = mutator.next();
    try {
      const Request request = on.request(text, {{}, {host(), null()}});
      check(on.checkpoint(), request);
      ++read;
    } catch (const Error& error) {
      ASSERT_FALSE(error.message().empty());
      ASSERT_TRUE(error.line() != 0 || error.code() != ErrorCode::bad_rules ||
                  error.message().starts_with("the file has no name"))
          << error.what() << "\n"
          << text;
    }
  }
  EXPECT_GT(read, 100u);
}

}  // namespace
}  // namespace sluice
