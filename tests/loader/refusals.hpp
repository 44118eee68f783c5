// Refusals: makes the system say no, for tests of what happens then. Each lasts until its process ends, so call them in
// the child of a death test: EXPECT_EXIT(({ refuse_calls({...}, EPERM); ...; std::_Exit(0); }), ExitedWithCode(0), "").
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
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

/// From now on these system calls fail with `error`, by a seccomp filter, as containers refuse them.
inline void refuse_calls(std::initializer_list<long> calls, int error) {
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  for (const long call : calls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(call), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<unsigned>(error)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  require(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no new privileges");
  require(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "a seccomp filter is accepted");
}

/// An ordinary user, whom limits bind.
inline void become_ordinary_user() {
  constexpr uid_t nobody = 65534;
  if (geteuid() == 0) require(setresuid(nobody, nobody, nobody) == 0, "root may become an ordinary user");
}

inline void limit(int resource, rlim_t most) {
  const rlimit both{most, most};
  require(setrlimit(static_cast<__rlimit_resource>(resource), &both) == 0, "a limit can be lowered");
}

}  // namespace sluice
