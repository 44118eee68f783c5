// Refusals: makes the system say no, for tests of what happens then. Each lasts until its process ends, so call them in
// the child of a death test: in_child([] { refuse_calls({...}, EPERM); ... });
#pragma once

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <vector>

namespace sluice {

/// Ends a death test's child as failed, and says why.
inline void require(bool held, const char* what) {
  if (held) return;
  std::fprintf(stderr, "not so: %s\n", what);
  std::_Exit(1);
}

inline const testing::TestResult& result_so_far() {
  return *testing::UnitTest::GetInstance()->current_test_info()->result();
}

/// Ends a death test's child, and says which of its expectations failed since there were `before` results.
[[noreturn]] inline void end_child(int before) {
  bool failed = false;
  for (int i = before; i < result_so_far().total_part_count(); ++i) {
    const testing::TestPartResult& part = result_so_far().GetTestPartResult(i);
    if (!part.failed()) continue;
    std::fprintf(stderr, "%s:%d: %s\n", part.file_name(), part.line_number(), part.message());
    failed = true;
  }
  std::_Exit(failed ? 1 : 0);
}

/// Runs `body` in a child process; fails where it fails an expectation.
template <typename Body>
void in_child(const Body& body) {
  EXPECT_EXIT(({
                const int before = result_so_far().total_part_count();
                body();
                end_child(before);
              }),
              testing::ExitedWithCode(0), "");
}

/// Installs a seccomp filter for this thread and those that it makes from now on.
inline void install_filter(const std::vector<sock_filter>& program) {
  std::vector<sock_filter> instructions = program;  // the kernel's type is not const
  const sock_fprog filter{static_cast<unsigned short>(instructions.size()), instructions.data()};
  require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no new privileges");
  require(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "a seccomp filter is accepted");
}

/// From now on these system calls fail with `error`, as containers refuse them.
inline void refuse_calls(std::initializer_list<long> calls, int error) {
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  for (const long call : calls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  install_filter(program);
}

enum class Argument : unsigned short { equals = BPF_JEQ, has_any_bit_of = BPF_JSET };

/// From now on `call` fails with `error` where the low half of its argument `index` is, or has a bit of, `value`.
inline void refuse_call_where(long call, unsigned index, Argument how, unsigned value, int error) {
  const auto argument = static_cast<unsigned>(offsetof(seccomp_data, args) + index * sizeof(std::uint64_t));
  install_filter({
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
      BPF_JUMP(static_cast<unsigned short>(BPF_JMP | static_cast<unsigned short>(how) | BPF_K), value, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  });
}

inline constexpr uid_t ordinary_user = 65534;  // nobody

/// An ordinary user, whom limits bind.
inline void become_ordinary_user() {
  if (geteuid() == 0) {
    require(setresuid(ordinary_user, ordinary_user, ordinary_user) == 0, "root may become an ordinary user");
  }
}

inline void limit(int resource, rlim_t most) {
  const rlimit both{most, most};
  require(setrlimit(static_cast<__rlimit_resource>(resource), &both) == 0, "a limit can be lowered");
}

}  // namespace sluice
