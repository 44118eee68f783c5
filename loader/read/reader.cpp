#include "loader/read/reader.hpp"

#include <string>
#include <utility>

#include "loader/read/null_reader.hpp"
#include "loader/read/pread_reader.hpp"
#include "loader/read/uring_reader.hpp"
#include "sluice/error.hpp"

namespace sluice {

std::unique_ptr<Reader> make_reader(const Options& options, Wakeup& wakeup, std::vector<Fallback>& fallbacks) {
  if (options.reader == ReaderKind::null) return std::make_unique<NullReader>(wakeup);
  if (options.reader == ReaderKind::pread) return std::make_unique<PreadReader>(options, wakeup);
  std::string refusal;
  if (auto reader = UringReader::make(options, wakeup, fallbacks, refusal)) return reader;
  if (options.reader == ReaderKind::uring) {
    throw Error(ErrorCode::reader_unavailable, "io_uring is refused: " + refusal, {},
                "or choose the reader `auto` or `pread`");
  }
  auto reader = std::make_unique<PreadReader>(options, wakeup);
  fallbacks.push_back({"io_uring", std::move(refusal)});  // last: who fails before that tries again, and tells it then
  return reader;
}

}  // namespace sluice
