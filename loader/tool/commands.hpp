// The commands: each does its work, then writes its one object or table. What goes wrong is thrown, and becomes an exit
// status in main().
#pragma once

#include "loader/tool/arguments.hpp"
#include "loader/tool/interrupts.hpp"
#include "loader/tool/output.hpp"
#include "sluice/error.hpp"

namespace sluice::tool {

void inspect(const Arguments& arguments, Output& output);
void plan(const Arguments& arguments, Output& output);
/// Throws Interrupted where a signal ended it.
void load(const Arguments& arguments, Output& output, Interrupts& interrupts);
/// Throws Interrupted likewise; the processes that it started have ended then.
void bench(const Arguments& arguments, Output& output, Interrupts& interrupts);
void bench_link(const Arguments& arguments, Output& output);
void doctor(const Arguments& arguments, Output& output);

}  // namespace sluice::tool
