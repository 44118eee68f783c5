// Threads: the one way in which the library makes them, how many there should be, and work that several share.
#pragma once

#include <cstddef>
#include <functional>
#include <thread>

namespace sluice {

/// A named thread (15 characters are kept) that takes no signals sent to the process: those belong to the process's own
/// threads, which expect their handlers to run there. It does take what it causes itself (SIGSEGV, SIGBUS, SIGFPE,
/// SIGILL, SIGSYS, SIGTRAP, SIGABRT), and SIGPROF where the calling thread takes that. Throws Error{system}.
std::thread start_thread(const char* name, std::function<void()> body);

/// Calls `work` on a thread of its own, and returns when it has: for what the calling thread must not do by itself.
/// Throws what `work` throws; and Error{system} or std::bad_alloc, and then nothing has been done.
void on_own_thread(const char* name, const std::function<void()>& work);
/// Likewise for `work` that throws nothing and has to be done: where there is no memory or no thread for that, the
/// calling thread does it.
void rather_on_own_thread(const char* name, const std::function<void()>& work) noexcept;

/// Processors that this process may run on: a container's or taskset's share, not the machine. At least 1.
unsigned processor_count() noexcept;

/// Calls work(0) to work(parts - 1), each once, on up to `threads` threads, one of them the caller's. Where some of the
/// threads cannot be made, the others do all of it. REQUIRES: `work` does not throw.
void share_out(unsigned threads, std::size_t parts, const std::function<void(std::size_t)>& work);

}  // namespace sluice
