// start_thread: the one way in which the library makes threads.
#pragma once

#include <functional>
#include <thread>

namespace sluice {

/// A named thread (15 characters are kept) that takes no signals: those belong to the process's own threads, which
/// expect their handlers to run there. Throws Error{system}.
std::thread start_thread(const char* name, std::function<void()> body);

}  // namespace sluice
