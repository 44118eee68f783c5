// Goal: nothing that is thrown crosses the border, and a struct that one side knows longer than the other is taken and
// given as far as both know it.
// Method: functions that throw whatever there is; structs of an older and of a newer version, made by hand.
#include "loader/c/border.hpp"

#include <gmock/gmock.h>

#include <array>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>

#include "loader/c/handles.hpp"
#include "sluice/error.hpp"

namespace sluice::border {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Answer {
  int code = 0;
  std::string text;
};

template <typename Body>
Answer answer_of(Body body) {
  sluice_error* error = nullptr;
  Answer answer;
  answer.code = run(&error, body);
  answer.text = sluice_error_text(error);
  EXPECT_EQ(sluice_error_code(error), answer.code);
  sluice_error_free(error);
  EXPECT_EQ(run(nullptr, body), answer.code);
  return answer;
}

TEST(Border, TurnsWhateverIsThrownIntoACode) {
  EXPECT_EQ(answer_of([] {}).code, SLUICE_OK);
  const Answer error = answer_of([] { throw Error(ErrorCode::bad_rules, "what", {}, "do"); });
  EXPECT_EQ(error.code, SLUICE_BAD_RULES);
  EXPECT_EQ(error.text, "bad rules: what; do");
  const Answer memory = answer_of([] { throw std::bad_alloc(); });
  EXPECT_EQ(memory.code, SLUICE_OUT_OF_MEMORY);
  EXPECT_THAT(memory.text, HasSubstr("memory"));
  const Answer other = answer_of([] { throw std::length_error("too long"); });
  EXPECT_EQ(other.code, SLUICE_SYSTEM);
  EXPECT_THAT(other.text, HasSubstr("too long"));
}

TEST(Border, ClearsTheErrorOfACallThatSucceeds) {
  int none = 0;
  auto* error = reinterpret_cast<sluice_error*>(&none);
  EXPECT_EQ(run(&error, [] {}), SLUICE_OK);
  EXPECT_EQ(error, nullptr);
}

TEST(Border, MakesNoHandleWhereMakingItFails) {
  int none = 0;
  auto* handle = reinterpret_cast<sluice_text*>(&none);
  const int code = make(&handle, "handle", nullptr, []() -> std::unique_ptr<sluice_text> { throw std::bad_alloc(); });
  EXPECT_EQ(code, SLUICE_OUT_OF_MEMORY);
  EXPECT_EQ(handle, nullptr);
  EXPECT_EQ(
      make(static_cast<sluice_text**>(nullptr), "handle", nullptr, [] { return std::make_unique<sluice_text>(); }),
      SLUICE_INVALID_ARGUMENT);
}

// A struct that has grown twice: 8, 12 and 16 bytes.
using Words = std::array<std::uint32_t, 4>;
constexpr std::size_t first = 8;

int take_code(const Words& given, std::size_t known_bytes, Words& known) {
  return answer_of([&] { take(given.data(), first, known.data(), known_bytes, "words"); }).code;
}

TEST(Border, TakesWhatBothSidesKnow) {
  Words known = {};
  EXPECT_EQ(take_code({16, 1, 2, 3}, 16, known), SLUICE_OK);
  EXPECT_THAT(known, ElementsAre(16, 1, 2, 3));
  known = {};
  EXPECT_EQ(take_code({8, 1, 2, 3}, 16, known), SLUICE_OK);  // an older caller's: what is behind it is not its own
  EXPECT_THAT(known, ElementsAre(8, 1, 0, 0));
  known = {};
  EXPECT_EQ(take_code({16, 1, 0, 0}, 8, known), SLUICE_OK);  // a newer caller's, who wants nothing new
  EXPECT_THAT(known, ElementsAre(16, 1, 0, 0));
  EXPECT_EQ(take_code({16, 1, 0, 1u << 31}, 12, known), SLUICE_INVALID_ARGUMENT);
  EXPECT_EQ(take_code({7, 1, 0, 0}, 16, known), SLUICE_INVALID_ARGUMENT);
  EXPECT_EQ(take_code({4097, 1, 0, 0}, 16, known), SLUICE_INVALID_ARGUMENT);
}

TEST(Border, GivesWhatBothSidesKnow) {
  const Words known = {16, 1, 2, 3};
  Words older = {8, 9, 9, 9};
  give(known.data(), 16, older.data());
  EXPECT_THAT(older, ElementsAre(8, 1, 9, 9));
  Words newer = {16, 9, 9, 9};
  give(known.data(), 8, newer.data());
  EXPECT_THAT(newer, ElementsAre(16, 1, 0, 0));
  EXPECT_EQ(answer_of([&] { check_size(nullptr, first, "words"); }).code, SLUICE_INVALID_ARGUMENT);
  const std::uint32_t short_of_it = 7;
  EXPECT_EQ(answer_of([&] { check_size(&short_of_it, first, "words"); }).code, SLUICE_INVALID_ARGUMENT);
}

struct NewerMemory {
  sluice_memory memory;
  std::uint64_t news;
};

TEST(Border, WalksAnArrayByTheSizeOfItsFirst) {
  std::array<NewerMemory, 2> all = {};
  for (NewerMemory& one : all) one.memory.size = sizeof one;
  EXPECT_EQ(element_at(&all[0].memory, 1, "memory"), &all[1].memory);
  all[1].memory.size = sizeof(sluice_memory);
  EXPECT_EQ(answer_of([&] { element_at(&all[0].memory, 1, "memory"); }).code, SLUICE_INVALID_ARGUMENT);
  all[0].memory.size = 0;
  EXPECT_EQ(answer_of([&] { element_at(&all[0].memory, 0, "memory"); }).code, SLUICE_INVALID_ARGUMENT);
}

TEST(Border, RefusesListsWithoutElementsAndWithTooMany) {
  EXPECT_TRUE(list<int>(nullptr, 0, 4, "list").empty());
  EXPECT_EQ(answer_of([] { list<int>(nullptr, 1, 4, "list"); }).code, SLUICE_INVALID_ARGUMENT);
  const int one = 1;
  EXPECT_EQ(answer_of([&] { list(&one, 5, 4, "list"); }).code, SLUICE_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace sluice::border
