// The bare loop: direct io_uring reads straight into fresh huge pages, a bounded number in flight, nothing else.
// With FILL above 0 it is the limit of a load that casts: it reads into reused memory, while two threads fill FILL
// times as much fresh memory as is read, waiting for nothing. usage: bench_cold_start_direct PIECE_BYTES DEPTH FILL
// FILE...
#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "bench/cold_start/contender.hpp"

int main(int argc, char** argv) {
  const contender::Stopwatch stopwatch;
  if (argc < 5) return 2;
  const auto piece_bytes = static_cast<std::uint32_t>(std::atoll(argv[1]));
  const auto depth = static_cast<unsigned>(std::atoi(argv[2]));
  const double fill = std::atof(argv[3]);
  const auto shards = contender::open_shards({argv + 4, argv + argc}, O_DIRECT, piece_bytes);
  const std::uint64_t slots = fill > 0 ? 2 * depth : shards.pieces.size();
  std::byte* const memory = contender::fresh_memory(fill > 0 ? slots * piece_bytes : shards.memory_bytes);
  const auto half = static_cast<std::uint64_t>(fill / 2 * static_cast<double>(shards.bytes));
  std::vector<std::thread> fillers;
  for (int i = 0; i < 2 && fill > 0; ++i) {
    fillers.emplace_back([half] { std::memset(contender::fresh_memory(half), 1, half); });
  }
  io_uring ring;
  const int made = io_uring_queue_init(depth, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  if (made < 0) {
    errno = -made;
    contender::fail("io_uring");
  }
  std::size_t next = 0;
  std::uint64_t left = shards.bytes;
  for (unsigned in_flight = 0; left != 0;) {
    for (; in_flight < depth && next < shards.pieces.size(); ++in_flight, ++next) {
      const contender::Piece& piece = shards.pieces[next];
      io_uring_prep_read(io_uring_get_sqe(&ring), piece.descriptor,
                         memory + (fill > 0 ? next % slots * piece_bytes : piece.target), piece.bytes, piece.offset);
    }
    if (io_uring_submit_and_wait(&ring, 1) < 0) contender::fail("io_uring");
    for (io_uring_cqe* cqe = nullptr; io_uring_peek_cqe(&ring, &cqe) == 0; --in_flight) {
      if (cqe->res <= 0) contender::fail("read");
      left -= std::min<std::uint64_t>(left, static_cast<std::uint64_t>(cqe->res));
      io_uring_cqe_seen(&ring, cqe);
    }
  }
  for (std::thread& filler : fillers) filler.join();
  stopwatch.print(shards.bytes);
}
