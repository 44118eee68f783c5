// The help texts, written by hand: a page for the tool and one for each command.
#pragma once

#include <string>

namespace sluice::tool::help {

std::string overview();
std::string inspect();
std::string plan();
std::string load();
std::string bench();
std::string bench_link();
std::string doctor();

}  // namespace sluice::tool::help
