// DeliveryMutants: all mutants of the kernel's PTX, and whether the kernel's cases kill them. A mutant is killed when a
// launch faults, takes far more steps than the kernel ever does, or leaves another arena; of the launches, only those
// can that reach the mutated line, and they are tried from the shortest on.
// Threads: kills() may be called on any number of them.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/cuda/delivery_cases.hpp"
#include "tests/cuda/equivalent_mutants.hpp"
#include "tests/cuda/kernel_runner.hpp"
#include "tests/sim/ptx/instruction.hpp"
#include "tests/sim/ptx/mutants.hpp"

namespace sluice {

/// Which lines of a kernel are executed, and how many steps that takes. One at a time in a process.
class Coverage {
 public:
  /// Has each instruction of `kernel` say that it is reached. The kernel must not outlive this.
  explicit Coverage(sim::ptx::Kernel& kernel) : instructions_(kernel.code), begin_(kernel.code.data()) {
    for (sim::ptx::Instruction& instruction : kernel.code) instruction.execute = note;
    current_ = this;
  }
  ~Coverage() { current_ = nullptr; }
  Coverage(const Coverage&) = delete;
  Coverage& operator=(const Coverage&) = delete;

  void clear() {
    lines_.clear();
    steps_ = 0;
  }
  const std::vector<bool>& lines() const { return lines_; }
  std::uint64_t steps() const { return steps_; }

 private:
  static const sim::ptx::Instruction* note(const sim::ptx::Instruction* self, sim::ptx::Thread& thread) {
    Coverage& coverage = *current_;
    if (coverage.lines_.size() <= self->line) coverage.lines_.resize(self->line + 1);
    coverage.lines_[self->line] = true;
    ++coverage.steps_;
    return coverage.instructions_[static_cast<std::size_t>(self - coverage.begin_)].execute(self, thread);
  }

  static inline Coverage* current_ = nullptr;
  std::vector<sim::ptx::Instruction> instructions_;
  const sim::ptx::Instruction* begin_;
  std::vector<bool> lines_;
  std::uint64_t steps_ = 0;
};

class DeliveryMutants {
 public:
  /// Throws where the kernel itself fails a case. `seed` as of mutations().
  explicit DeliveryMutants(std::string_view ptx, std::uint64_t seed = 0)
      : ptx_(ptx), mutations_(sim::ptx::mutations(ptx, seed)), facts_(ptx) {
    while (!facts_.statement(first_read_).is("ld.global.nc.v4")) ++first_read_;
    while (!facts_.statement(first_read_).is("bra")) --first_read_;
    sim::ptx::Module module = sim::ptx::parse(ptx);
    Coverage coverage(module.kernels.at(0));
    KernelRunner runner(std::move(module), step_limit);
    for (const delivery_cases::Case& one : delivery_cases::all) {
      for (DeliveryWork& work : one.works()) {
        coverage.clear();
        const std::string wrong = work.run(runner);
        if (!wrong.empty()) throw std::runtime_error(wrong);
        launches_.push_back({std::move(work), coverage.lines(), coverage.steps()});
      }
    }
    std::stable_sort(launches_.begin(), launches_.end(),
                     [](const Launch& a, const Launch& b) { return a.steps < b.steps; });
  }

  std::span<const sim::ptx::Mutation> all() const { return mutations_; }

  /// By any launch, or by one that takes `steps_max` or fewer.
  bool kills(const sim::ptx::Mutation& mutation, std::uint64_t steps_max = ~std::uint64_t{0}) const {
    KernelRunner runner(sim::ptx::parse(sim::ptx::mutate(ptx_, mutation)), step_limit);
    for (const Launch& launch : launches_) {
      if (launch.steps > steps_max) break;
      if (mutation.line >= launch.lines.size() || !launch.lines[mutation.line]) continue;
      try {
        if (!launch.work.run(runner).empty()) return true;
      } catch (const sim::ptx::Fault&) {
        return true;
      }
    }
    return false;
  }

  /// Of those in equivalent_mutants.hpp, the one by which `mutation` may survive, or nullptr.
  const EquivalentMutants* rule(const sim::ptx::Mutation& mutation) const {
    return look(mutation, [](const MutatedPtx& mutant) -> const EquivalentMutants* {
      const auto* const found = std::find_if(std::begin(equivalent::rules), std::end(equivalent::rules),
                                             [&](const EquivalentMutants& one) { return one.match(mutant); });
      return found == std::end(equivalent::rules) ? nullptr : found;
    });
  }

  /// "setp: operand", "setp: operation", "bra: guard", "bra: gone".
  std::string kind(const sim::ptx::Mutation& mutation) const {
    return look(mutation, [](const MutatedPtx& mutant) {
      const std::string_view operation = mutant.before.operation;
      const std::string_view changed = mutant.after.operation.empty()                    ? "gone"
                                       : mutant.after.operation != operation             ? "operation"
                                       : mutant.before.operands != mutant.after.operands ? "operand"
                                                                                         : "guard";
      return fmt::format("{}: {}", operation.substr(0, operation.find('.')), changed);
    });
  }

  /// What `mutation` does, and the statement to which it does it.
  std::string describe(const sim::ptx::Mutation& mutation) const {
    return fmt::format("{}, of `{}`", mutation.description, line_of(ptx_, mutation.offset));
  }

 private:
  // Enough for each thread of the kernel itself, which takes some thousands.
  static constexpr std::uint64_t step_limit = 20'000;

  struct Launch {
    mutable DeliveryWork work;  // which has been run once
    std::vector<bool> lines;
    std::uint64_t steps;
  };

  template <typename Look>
  std::invoke_result_t<Look, const MutatedPtx&> look(const sim::ptx::Mutation& mutation, Look at) const {
    const std::string_view line = line_of(ptx_, mutation.offset);
    std::string mutated(line);
    mutated.replace(mutation.offset - static_cast<std::size_t>(line.data() - ptx_.data()), mutation.bytes,
                    mutation.replacement);
    std::uint32_t previous = mutation.line - 1;
    while (facts_.statement(previous).operation.empty()) --previous;
    return at({facts_, mutation, facts_.statement(mutation.line), PtxStatement(mutated), facts_.statement(previous),
               mutation.line > first_read_});
  }

  static std::string_view line_of(std::string_view text, std::size_t offset) {
    const std::size_t begin = text.rfind('\n', offset) + 1;
    return text.substr(begin, text.find('\n', offset) - begin);
  }

  std::string_view ptx_;
  std::vector<sim::ptx::Mutation> mutations_;
  PtxFacts facts_;
  std::uint32_t first_read_ = 1;  // the line behind which the extent is first read
  std::vector<Launch> launches_;
};

}  // namespace sluice
