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
void doctor(const Arguments& arguments, Output& output);

/// Runs `step`, and has an Error about a pattern that matches nothing name the option that it came from.
template <typename Step>
auto with_select_explained(const Arguments& arguments, Step&& step) {
  try {
    return step();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::tensor_not_found) throw;
    const bool suggests = error.hint().starts_with("did you mean");
    throw Error(error.code(), "no tensor matches --select", {error.path(), error.offset(), error.tensor()},
                suggests ? error.hint() : "`sluice inspect " + arguments.path.string() + "` lists the names");
  }
}

}  // namespace sluice::tool
