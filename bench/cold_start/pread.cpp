// Threads that call pread, buffered, into fresh huge pages: each has its own half of the bytes.
// usage: bench_cold_start_pread PIECE_BYTES THREADS FILE...
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "bench/cold_start/contender.hpp"

int main(int argc, char** argv) {
  const contender::Stopwatch stopwatch;
  if (argc < 4) return 2;
  const auto piece_bytes = static_cast<std::uint32_t>(std::atoll(argv[1]));
  const auto threads = static_cast<std::size_t>(std::atoi(argv[2]));
  const auto shards = contender::open_shards({argv + 3, argv + argc}, 0, piece_bytes);
  std::byte* const memory = contender::fresh_memory(shards.memory_bytes);
  std::vector<std::thread> workers;
  for (std::size_t i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] {
      const std::size_t end = shards.pieces.size() * (i + 1) / threads;
      for (std::size_t at = shards.pieces.size() * i / threads; at < end; ++at) {
        const contender::Piece& piece = shards.pieces[at];
        for (std::uint64_t done = 0; done < piece.bytes;) {
          const ssize_t got = ::pread(piece.descriptor, memory + piece.target + done, piece.bytes - done,
                                      static_cast<off_t>(piece.offset + done));
          if (got < 0) contender::fail("pread");
          if (got == 0) break;  // the end of the file
          done += static_cast<std::uint64_t>(got);
        }
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  stopwatch.print(shards.bytes);
}
