// TensorParallel: a model as serving engines split it over GPUs: query, key and value fused, gate and up fused, rows of
// the one kind of matrix and columns of the other, a vocabulary padded with zeros, norms whole on each. It knows the
// checkpoint's tensors, asks for them, and says what each GPU must have of them, worked out byte by byte.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "loader/device/array_cast.hpp"
#include "sluice/request.hpp"
#include "tests/loader/support/shard_writer.hpp"

namespace sluice {

struct TensorParallel {
  unsigned world = 1;
  unsigned layers = 2;
  std::uint64_t hidden = 256;
  std::uint64_t q = 256;   // rows of all heads
  std::uint64_t kv = 128;  // of the fewer heads of keys, and of values
  std::uint64_t inner = 512;
  std::uint64_t vocabulary = 1001;
  Dtype stored = bf16;  // in the checkpoint; GPUs have BF16

  /// `rows` rows from `row` on and `columns` columns from `column` on of the checkpoint's `tensor` are the rows from
  /// `into` on of `destination`.
  struct Piece {
    std::string destination;
    std::string tensor;
    std::uint64_t row = 0;
    std::uint64_t rows = 0;
    std::uint64_t column = 0;
    std::uint64_t columns = 0;
    std::uint64_t into = 0;
    Group group = {};
  };

  std::vector<TestTensor> tensors() const {
    std::vector<TestTensor> all = {{"embed", stored, {vocabulary, hidden}}};
    for (unsigned layer = 0; layer < layers; ++layer) {
      const std::string p = fmt::format("layers.{}.", layer);
      const std::vector<TestTensor> of_layer = {
          {p + "norm", stored, {1, hidden}},   {p + "q", stored, {q, hidden}},
          {p + "k", stored, {kv, hidden}},     {p + "v", stored, {kv, hidden}},
          {p + "o", stored, {hidden, q}},      {p + "gate", stored, {inner, hidden}},
          {p + "up", stored, {inner, hidden}}, {p + "down", stored, {hidden, inner}}};
      all.insert(all.end(), of_layer.begin(), of_layer.end());
    }
    all.push_back({"final_norm", stored, {1, hidden}});
    return all;
  }

  std::vector<Piece> pieces(unsigned rank) const {
    const std::uint64_t part = (vocabulary + world - 1) / world;
    const std::uint64_t first = std::min(rank * part, vocabulary);
    std::vector<Piece> all = {{"embed", "embed", first, std::min(part, vocabulary - first), 0, hidden}};
    for (unsigned layer = 0; layer < layers; ++layer) {
      const std::string p = fmt::format("layers.{}.", layer);
      const auto rows = [&](const char* into, const char* from, std::uint64_t of, std::uint64_t at) {
        all.push_back({p + into, p + from, rank * of / world, of / world, 0, hidden, at, {layer + 1}});
      };
      const auto columns = [&](const char* from, std::uint64_t of) {
        all.push_back({p + from, p + from, 0, hidden, rank * of / world, of / world, 0, {layer + 1}});
      };
      all.push_back({p + "norm", p + "norm", 0, 1, 0, hidden, 0, {layer + 1}});
      rows("qkv", "q", q, 0);
      rows("qkv", "k", kv, q / world);
      rows("qkv", "v", kv, (q + kv) / world);
      columns("o", q);
      rows("gate_up", "gate", inner, 0);
      rows("gate_up", "up", inner, inner / world);
      columns("down", inner);
    }
    all.push_back({"final_norm", "final_norm", 0, 1, 0, hidden, 0, {layers + 1}});
    return all;
  }

  Request request() const {
    Request request;
    for (unsigned rank = 0; rank < world; ++rank) {
      const DeviceId device = cuda(static_cast<int>(rank));
      std::map<std::string, Destination*> destinations;
      for (const auto& [name, shape] : shapes(rank)) {
        destinations[name] = &request.destination(name, {shape.first, shape.second}, bf16, device);
      }
      destinations.at("embed")->zero();
      for (const Piece& piece : pieces(rank)) {
        Destination& destination = destinations.at(piece.destination)->group(piece.group);
        request.add(piece.tensor)
            .cast(bf16)
            .to(destination, take(0, piece.row, piece.rows).take(1, piece.column, piece.columns),
                take(0, piece.into, piece.rows));
      }
    }
    request.strict = true;
    return request;
  }

  /// What one GPU must have, by the names of its destinations.
  std::map<std::string, std::vector<std::byte>> expected(unsigned rank) const {
    std::map<std::string, TestTensor> by_name;
    for (const TestTensor& tensor : tensors()) by_name[tensor.name] = tensor;
    std::map<std::string, std::vector<std::byte>> all;
    for (const auto& [name, shape] : shapes(rank)) all[name].resize(shape.first * shape.second * element);
    for (const Piece& piece : pieces(rank)) {
      const TestTensor& source = by_name.at(piece.tensor);
      const std::vector<std::byte> stored_content = source.content();
      std::vector<std::byte> content(source.shape[0] * source.shape[1] * element);
      cast_elements(stored, stored_content.data(), bf16, content.data(), source.shape[0] * source.shape[1]);
      for (std::uint64_t row = 0; row < piece.rows; ++row) {
        const std::uint64_t from = (piece.row + row) * source.shape[1] + piece.column;
        std::copy_n(
            content.begin() + static_cast<std::ptrdiff_t>(from * element), piece.columns * element,
            all[piece.destination].begin() + static_cast<std::ptrdiff_t>((piece.into + row) * piece.columns * element));
      }
    }
    return all;
  }

  /// Bytes that must travel to one GPU.
  std::uint64_t kept_bytes(unsigned rank) const {
    std::uint64_t bytes = 0;
    for (const Piece& piece : pieces(rank)) bytes += piece.rows * piece.columns * bits(stored) / 8;
    return bytes;
  }

 private:
  static constexpr std::uint64_t element = 2;  // bytes of a BF16

  // Rows and columns of a rank's destinations.
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> shapes(unsigned rank) const {
    std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> all;
    for (const Piece& piece : pieces(rank)) {
      auto& [rows, columns] = all[piece.destination];
      rows = std::max(rows, piece.into + piece.rows);
      columns = piece.columns;
    }
    all["embed"].first = (vocabulary + world - 1) / world;
    return all;
  }
};

}  // namespace sluice
