// Layouts: how engines lay out the parameters of models that people serve, said as sluice's users say it, for every
// rank in one process; and beside each what its parameters must hold, worked out in plain loops over indices, which
// know no slices. Small models with the names and forms of large ones.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "loader/device/array_cast.hpp"
#include "sluice/sluice.hpp"
#include "tests/loader/support/callers_memory.hpp"
#include "tests/loader/support/shard_writer.hpp"
#include "tests/loader/support/temporary_folder.hpp"

namespace sluice {

/// Elements of any dtype of whole bytes, by their indices.
class Elements {
 public:
  Elements(Dtype dtype, std::vector<std::uint64_t> shape, std::vector<std::byte> content)
      : shape_(std::move(shape)), content_(std::move(content)), bytes_(bits(dtype) / 8), dtype_(dtype) {}
  /// Zeros.
  Elements(Dtype dtype, const std::vector<std::uint64_t>& shape)
      : Elements(dtype, shape, std::vector<std::byte>(TestTensor{"", dtype, shape}.bytes())) {}

  const std::byte* at(std::initializer_list<std::uint64_t> index) const { return &content_.at(place_of(index)); }
  void put(std::initializer_list<std::uint64_t> index, const std::byte* element) {
    std::memcpy(&content_.at(place_of(index)), element, bytes_);
  }
  Dtype dtype() const { return dtype_; }
  const std::vector<std::uint64_t>& shape() const { return shape_; }
  const std::vector<std::byte>& content() const { return content_; }

 private:
  std::size_t place_of(std::initializer_list<std::uint64_t> index) const {
    EXPECT_EQ(index.size(), shape_.size());
    std::size_t place = 0;
    std::size_t dimension = 0;
    for (const std::uint64_t i : index) {
      EXPECT_LT(i, shape_[dimension]);
      place = place * shape_[dimension++] + i;
    }
    return place * bytes_;
  }

  std::vector<std::uint64_t> shape_;
  std::vector<std::byte> content_;
  std::size_t bytes_;
  Dtype dtype_;
};

/// One rank of a model: where its parameters go, and what they are called where several ranks share a device.
struct Rank {
  std::uint64_t rank = 0;
  std::uint64_t world = 1;
  DeviceId device;
  std::string prefix;
};

/// Every rank on the host, or one per GPU.
inline std::vector<Rank> ranks_of(std::uint64_t world, bool on_gpus) {
  std::vector<Rank> ranks;
  for (std::uint64_t rank = 0; rank < world; ++rank) {
    ranks.push_back(
        {rank, world, on_gpus ? cuda(static_cast<int>(rank)) : host(), on_gpus ? "" : fmt::format("rank{}.", rank)});
  }
  return ranks;
}

struct Parameter {
  std::string name;
  Elements wanted;
};

class ModelLayout {
 public:
  virtual ~ModelLayout() = default;
  virtual const char* name() const = 0;
  virtual std::uint64_t world() const = 0;
  /// Of the checkpoint, in the order in which safetensors writes them: by name.
  virtual std::vector<TestTensor> tensors() const = 0;
  /// What one rank asks for.
  virtual void build(Request& request, const Rank& rank) const = 0;
  /// What is said once, behind all ranks' builders.
  virtual void build_once(Request& request) const { request.strict = true; }
  /// What the rank's parameters must be.
  virtual std::vector<Parameter> reference(const Rank& rank) const = 0;

  /// The engine's arena, out of which its parameters come; without one they lie in the load's.
  void take_memory_from(CallersMemory& memory) { memory_ = &memory; }

 protected:
  Destination& param(Request& request, const Rank& rank, const std::string& its_name, std::vector<std::uint64_t> shape,
                     Dtype dtype, Group group = {}) const {
    const std::uint64_t bytes = TestTensor{"", dtype, shape}.bytes();
    Destination& made = request.destination(rank.prefix + its_name, std::move(shape), dtype, rank.device).group(group);
    if (memory_ != nullptr) made.memory(memory_->allocate(rank.device, bytes), bytes);
    return made;
  }
  /// The elements of a tensor of the checkpoint.
  Elements elements(const std::string& its_name) const {
    for (const TestTensor& tensor : tensors()) {
      if (tensor.name == its_name) return {tensor.dtype, tensor.shape, tensor.content()};
    }
    ADD_FAILURE() << its_name << " is not in the checkpoint";
    return {Dtype::u8, {}, {}};
  }
  static std::vector<TestTensor> by_name(std::vector<TestTensor> tensors) {
    std::sort(tensors.begin(), tensors.end(), [](const TestTensor& a, const TestTensor& b) { return a.name < b.name; });
    return tensors;
  }

 private:
  CallersMemory* memory_ = nullptr;
};

/// Llama: fused qkv and gate_up, tensor parallel, a vocabulary padded with zeros.
class LlamaLayout final : public ModelLayout {
 public:
  LlamaLayout(std::uint64_t kv_heads, bool tied) : kv_heads_(kv_heads), tied_(tied) {}

  const char* name() const override { return tied_ ? "Llama, tied" : "Llama"; }
  std::uint64_t world() const override { return 8; }

  std::vector<TestTensor> tensors() const override {
    std::vector<TestTensor> all = {{"model.embed_tokens.weight", bf16, {vocabulary_, H_}},
                                   {"model.norm.weight", bf16, {H_}}};
    if (!tied_) all.push_back({"lm_head.weight", bf16, {vocabulary_, H_}});
    for (std::uint64_t l = 0; l < layers_; ++l) {
      const std::string p = fmt::format("model.layers.{}.", l);
      all.push_back({p + "input_layernorm.weight", bf16, {H_}});
      all.push_back({p + "self_attn.q_proj.weight", bf16, {heads_ * d_, H_}});
      all.push_back({p + "self_attn.k_proj.weight", bf16, {kv_heads_ * d_, H_}});
      all.push_back({p + "self_attn.v_proj.weight", bf16, {kv_heads_ * d_, H_}});
      all.push_back({p + "self_attn.o_proj.weight", bf16, {H_, heads_ * d_}});
      all.push_back({p + "self_attn.rotary_emb.inv_freq", f32, {d_ / 2}});
      all.push_back({p + "mlp.gate_proj.weight", bf16, {F_all_, H_}});
      all.push_back({p + "mlp.up_proj.weight", bf16, {F_all_, H_}});
      all.push_back({p + "mlp.down_proj.weight", bf16, {H_, F_all_}});
    }
    return by_name(all);
  }

  void build(Request& request, const Rank& on) const override {
    const std::uint64_t rank = on.rank, world = on.world, H = H_, F = F_all_ / world;
    const std::uint64_t q = heads_ / world * d_, kv = std::max<std::uint64_t>(1, kv_heads_ / world) * d_;
    const std::uint64_t copies = std::max<std::uint64_t>(1, world / kv_heads_);
    for (std::uint32_t l = 0; l < layers_; ++l) {
      const std::string p = fmt::format("model.layers.{}.", l);
      const Group group{l + 1};
      auto& qkv = param(request, on, p + "qkv", {q + 2 * kv, H}, bf16, group);
      request.add(p + "self_attn.q_proj.weight").to(qkv, part(0, rank, world), take(0, 0, q));
      request.add(p + "self_attn.k_proj.weight").to(qkv, part(0, rank / copies, world / copies), take(0, q, kv));
      request.add(p + "self_attn.v_proj.weight").to(qkv, part(0, rank / copies, world / copies), take(0, q + kv, kv));
      request.add(p + "self_attn.o_proj.weight")
          .to(param(request, on, p + "o", {H, q}, bf16, group), part(1, rank, world));
      auto& gate_up = param(request, on, p + "gate_up", {2 * F, H}, bf16, group);
      request.add(p + "mlp.gate_proj.weight").to(gate_up, part(0, rank, world), take(0, 0, F));
      request.add(p + "mlp.up_proj.weight").to(gate_up, part(0, rank, world), take(0, F, F));
      request.add(p + "mlp.down_proj.weight")
          .to(param(request, on, p + "down", {H, F}, bf16, group), part(1, rank, world));
      request.add(p + "input_layernorm.weight").cast(f32).to(param(request, on, p + "norm", {H}, f32, group));
    }
    const std::uint64_t rows = padded_ / world, first = rank * rows, count = std::min(rows, vocabulary_ - first);
    auto& embed = param(request, on, "embed", {rows, H}, bf16, Group{0}).zero();
    auto& head = param(request, on, "head", {rows, H}, bf16, Group{layers_ + 1}).zero();
    request.add("model.embed_tokens.weight").to(embed, take(0, first, count), take(0, 0, count));
    request.add(tied_ ? "model.embed_tokens.weight" : "lm_head.weight")
        .to(head, take(0, first, count), take(0, 0, count));
    request.add("model.norm.weight").to(param(request, on, "norm", {H}, bf16, Group{layers_ + 1}));
  }
  void build_once(Request& request) const override {
    request.add("*rotary_emb.inv_freq").skip().optional();
    request.strict = true;
  }

  std::vector<Parameter> reference(const Rank& on) const override {
    std::vector<Parameter> all;
    const std::uint64_t heads = heads_ / on.world, F = F_all_ / on.world;
    // The kv heads that the rank's heads attend to, of which neighbours share one where there are few.
    const std::uint64_t its_kv = std::max<std::uint64_t>(1, kv_heads_ / on.world);
    const std::uint64_t first_kv = on.rank * kv_heads_ / on.world;
    for (std::uint64_t l = 0; l < layers_; ++l) {
      const std::string p = fmt::format("model.layers.{}.", l);
      Elements qkv(bf16, {(heads + 2 * its_kv) * d_, H_});
      const Elements q = elements(p + "self_attn.q_proj.weight");
      const Elements k = elements(p + "self_attn.k_proj.weight");
      const Elements v = elements(p + "self_attn.v_proj.weight");
      Elements o(bf16, {H_, heads * d_});
      const Elements whole_o = elements(p + "self_attn.o_proj.weight");
      for (std::uint64_t h = 0; h < H_; ++h) {
        for (std::uint64_t i = 0; i < heads * d_; ++i) {
          qkv.put({i, h}, q.at({on.rank * heads * d_ + i, h}));
          o.put({h, i}, whole_o.at({h, on.rank * heads * d_ + i}));
        }
        for (std::uint64_t i = 0; i < its_kv * d_; ++i) {
          qkv.put({heads * d_ + i, h}, k.at({first_kv * d_ + i, h}));
          qkv.put({(heads + its_kv) * d_ + i, h}, v.at({first_kv * d_ + i, h}));
        }
      }
      Elements gate_up(bf16, {2 * F, H_});
      Elements down(bf16, {H_, F});
      const Elements gate = elements(p + "mlp.gate_proj.weight");
      const Elements up = elements(p + "mlp.up_proj.weight");
      const Elements whole_down = elements(p + "mlp.down_proj.weight");
      for (std::uint64_t i = 0; i < F; ++i) {
        for (std::uint64_t h = 0; h < H_; ++h) {
          gate_up.put({i, h}, gate.at({on.rank * F + i, h}));
          gate_up.put({F + i, h}, up.at({on.rank * F + i, h}));
          down.put({h, i}, whole_down.at({h, on.rank * F + i}));
        }
      }
      Elements norm(f32, {H_});
      for (std::uint64_t h = 0; h < H_; ++h) {
        std::byte element[4];
        cast_elements(bf16, elements(p + "input_layernorm.weight").at({h}), f32, element, 1);
        norm.put({h}, element);
      }
      all.insert(all.end(),
                 {{p + "qkv", qkv}, {p + "o", o}, {p + "gate_up", gate_up}, {p + "down", down}, {p + "norm", norm}});
    }
    for (const char* const its_name : {"embed", "head"}) {
      const bool own = !tied_ && std::string(its_name) == "head";
      const Elements whole = elements(own ? "lm_head.weight" : "model.embed_tokens.weight");
      Elements table(bf16, {padded_ / on.world, H_});
      for (std::uint64_t row = 0; row < padded_ / on.world; ++row) {
        const std::uint64_t token = on.rank * (padded_ / on.world) + row;
        for (std::uint64_t h = 0; token < vocabulary_ && h < H_; ++h) table.put({row, h}, whole.at({token, h}));
      }
      all.push_back({its_name, table});
    }
    all.push_back({"norm", elements("model.norm.weight")});
    return all;
  }

 private:
  static constexpr std::uint32_t layers_ = 2;
  static constexpr std::uint64_t H_ = 12, heads_ = 16, d_ = 4, F_all_ = 40, vocabulary_ = 123, padded_ = 128;
  const std::uint64_t kv_heads_;
  const bool tied_;
};

/// Qwen3-MoE: whole experts per rank, stacked, with spare slots that hold a popular expert once more.
class Qwen3MoeLayout final : public ModelLayout {
 public:
  const char* name() const override { return "Qwen3-MoE"; }
  std::uint64_t world() const override { return 8; }

  std::vector<TestTensor> tensors() const override {
    std::vector<TestTensor> all = {{"model.layers.0.mlp.gate.weight", bf16, {experts_, H_}},
                                   {"model.layers.0.self_attn.q_norm.weight", bf16, {6}}};
    for (std::uint64_t e = 0; e < experts_; ++e) {
      const std::string x = fmt::format("model.layers.0.mlp.experts.{}.", e);
      all.push_back({x + "gate_proj.weight", bf16, {F_, H_}});
      all.push_back({x + "up_proj.weight", bf16, {F_, H_}});
      all.push_back({x + "down_proj.weight", bf16, {H_, F_}});
    }
    return by_name(all);
  }

  void build(Request& request, const Rank& on) const override {
    const std::string p = "model.layers.0.";
    const std::uint64_t E = slots_, F = F_, H = H_;
    const Group g{1};
    auto& w13 = param(request, on, p + "w13", {E, 2 * F, H}, bf16, g);
    auto& w2 = param(request, on, p + "w2", {E, H, F}, bf16, g);
    for (std::uint64_t slot = 0; slot < E; ++slot) {
      const std::string x = p + "mlp.experts." + std::to_string(logical(on.rank, slot)) + ".";
      request.add(x + "gate_proj.weight").to(w13, {}, as({E, 2, F, H}).at(0, slot).at(1, 0));
      request.add(x + "up_proj.weight").to(w13, {}, as({E, 2, F, H}).at(0, slot).at(1, 1));
      request.add(x + "down_proj.weight").to(w2, {}, at(0, slot));
    }
    request.add(p + "mlp.gate.weight").cast(f32).to(param(request, on, p + "router", {experts_, H}, f32, g));
    request.add("*q_norm.weight").to(param(request, on, p + "q_norm", {6}, bf16, g));
  }
  void build_once(Request& request) const override {
    request.add("*.mlp.experts.*").skip().optional();
    request.strict = true;
  }

  std::vector<Parameter> reference(const Rank& on) const override {
    const std::string p = "model.layers.0.";
    Elements w13(bf16, {slots_, 2 * F_, H_});
    Elements w2(bf16, {slots_, H_, F_});
    for (std::uint64_t slot = 0; slot < slots_; ++slot) {
      const std::string x = fmt::format("{}mlp.experts.{}.", p, logical(on.rank, slot));
      const Elements gate = elements(x + "gate_proj.weight");
      const Elements up = elements(x + "up_proj.weight");
      const Elements down = elements(x + "down_proj.weight");
      for (std::uint64_t f = 0; f < F_; ++f) {
        for (std::uint64_t h = 0; h < H_; ++h) {
          w13.put({slot, f, h}, gate.at({f, h}));
          w13.put({slot, F_ + f, h}, up.at({f, h}));
          w2.put({slot, h, f}, down.at({h, f}));
        }
      }
    }
    Elements router(f32, {experts_, H_});
    const Elements gate = elements(p + "mlp.gate.weight");
    for (std::uint64_t e = 0; e < experts_; ++e) {
      for (std::uint64_t h = 0; h < H_; ++h) {
        std::byte element[4];
        cast_elements(bf16, gate.at({e, h}), f32, element, 1);
        router.put({e, h}, element);
      }
    }
    return {{p + "w13", w13},
            {p + "w2", w2},
            {p + "router", router},
            {p + "q_norm", elements(p + "self_attn.q_norm.weight")}};
  }

 private:
  // Two experts per rank, and a third slot for a copy of expert 5 or, on odd ranks, of another rank's last one.
  static std::uint64_t logical(std::uint64_t rank, std::uint64_t slot) {
    if (slot < 2) return rank * 2 + slot;
    return rank % 2 == 0 ? 5 : 15 - rank;
  }
  static constexpr std::uint64_t experts_ = 16, slots_ = 3, F_ = 5, H_ = 8;
};

/// Experts of one 3D tensor, whole experts per group of ranks and a part of each per rank within.
class FusedExpertsLayout final : public ModelLayout {
 public:
  const char* name() const override { return "experts in 3D"; }
  std::uint64_t world() const override { return 8; }

  std::vector<TestTensor> tensors() const override {
    return {{"experts.down_proj", bf16, {E_all_, H_, F_all_}},
            {"experts.gate_up_proj", bf16, {E_all_, 2 * F_all_, H_}}};
  }

  void build(Request& request, const Rank& on) const override {
    const std::uint64_t ep = on.rank / tp_world_, ep_world = on.world / tp_world_, tp = on.rank % tp_world_;
    const std::uint64_t E = E_all_ / ep_world, F = F_all_ / tp_world_, H = H_;
    auto& w13 = param(request, on, "w13", {E, 2 * F, H}, bf16);
    request.add("experts.gate_up_proj")
        .to(w13, as({E_all_, 2, F_all_, H}).part(0, ep, ep_world).part(2, tp, tp_world_), as({E, 2, F, H}));
    request.add("experts.down_proj")
        .to(param(request, on, "w2", {E, H, F}, bf16), part(0, ep, ep_world).part(2, tp, tp_world_));
  }

  std::vector<Parameter> reference(const Rank& on) const override {
    const std::uint64_t ep = on.rank / tp_world_, tp = on.rank % tp_world_;
    const std::uint64_t E = E_all_ * tp_world_ / on.world, F = F_all_ / tp_world_;
    Elements w13(bf16, {E, 2 * F, H_});
    Elements w2(bf16, {E, H_, F});
    const Elements gate_up = elements("experts.gate_up_proj");
    const Elements down = elements("experts.down_proj");
    for (std::uint64_t e = 0; e < E; ++e) {
      for (std::uint64_t f = 0; f < F; ++f) {
        for (std::uint64_t h = 0; h < H_; ++h) {
          w13.put({e, f, h}, gate_up.at({ep * E + e, tp * F + f, h}));
          w13.put({e, F + f, h}, gate_up.at({ep * E + e, F_all_ + tp * F + f, h}));
          w2.put({e, h, f}, down.at({ep * E + e, h, tp * F + f}));
        }
      }
    }
    return {{"w13", w13}, {"w2", w2}};
  }

 private:
  static constexpr std::uint64_t E_all_ = 8, F_all_ = 12, H_ = 7, tp_world_ = 2;
};

/// DeepSeek: FP8 weights with a scale per block of 128 x 128. Ranks of half a block share its scale knowingly.
class DeepSeekLayout final : public ModelLayout {
 public:
  explicit DeepSeekLayout(std::uint64_t its_world) : world_(its_world) {}

  const char* name() const override { return "DeepSeek FP8"; }
  std::uint64_t world() const override { return world_; }

  std::vector<TestTensor> tensors() const override {
    const std::string x = "model.layers.3.mlp.shared_experts.";
    return {{x + "down_proj.weight", f8_e4m3, {H_, F_all_}}, {x + "down_proj.weight_scale_inv", f32, {2, F_all_ / 128}},
            {x + "gate_proj.weight", f8_e4m3, {F_all_, H_}}, {x + "gate_proj.weight_scale_inv", f32, {F_all_ / 128, 2}},
            {x + "up_proj.weight", f8_e4m3, {F_all_, H_}},   {x + "up_proj.weight_scale_inv", f32, {F_all_ / 128, 2}}};
  }

  void build(Request& request, const Rank& on) const override {
    const std::uint64_t rank = on.rank, world = on.world, F = F_all_ / world, H = H_, blocks = (F + 127) / 128;
    const std::string x = "model.layers.3.mlp.shared_experts.";
    auto& w13 = param(request, on, "w13", {2 * F, H}, f8_e4m3);
    auto& s13 = param(request, on, "s13", {2 * blocks, 2}, f32);
    auto& w2 = param(request, on, "w2", {H, F}, f8_e4m3);
    auto& s2 = param(request, on, "s2", {2, blocks}, f32);
    const Slice rows = part(0, rank, world);
    const Slice columns = part(1, rank, world);
    const bool aligned = F % 128 == 0;
    const Slice row_scales = aligned ? blocks_of(rows, {F_all_, H}, {128, 128}) : take(0, rank * F / 128, 1);
    const Slice column_scales = aligned ? blocks_of(columns, {H, F_all_}, {128, 128}) : take(1, rank * F / 128, 1);
    request.add(x + "gate_proj.weight").to(w13, rows, take(0, 0, F));
    request.add(x + "up_proj.weight").to(w13, rows, take(0, F, F));
    request.add(x + "gate_proj.weight_scale_inv").to(s13, row_scales, take(0, 0, blocks));
    request.add(x + "up_proj.weight_scale_inv").to(s13, row_scales, take(0, blocks, blocks));
    request.add(x + "down_proj.weight").to(w2, columns);
    request.add(x + "down_proj.weight_scale_inv").to(s2, column_scales);
  }

  std::vector<Parameter> reference(const Rank& on) const override {
    const std::uint64_t F = F_all_ / on.world, blocks = (F + 127) / 128;
    const std::string x = "model.layers.3.mlp.shared_experts.";
    Elements w13(f8_e4m3, {2 * F, H_});
    Elements s13(f32, {2 * blocks, 2});
    Elements w2(f8_e4m3, {H_, F});
    Elements s2(f32, {2, blocks});
    std::uint64_t at = 0;
    for (const char* const half : {"gate_proj.weight", "up_proj.weight"}) {
      const Elements weight = elements(x + half);
      const Elements scales = elements(x + half + "_scale_inv");
      for (std::uint64_t f = 0; f < F; ++f) {
        for (std::uint64_t h = 0; h < H_; ++h) {
          const std::uint64_t row = on.rank * F + f;
          w13.put({at * F + f, h}, weight.at({row, h}));
          s13.put({at * blocks + f / 128, h / 128}, scales.at({row / 128, h / 128}));
        }
      }
      ++at;
    }
    const Elements down = elements(x + "down_proj.weight");
    const Elements scales = elements(x + "down_proj.weight_scale_inv");
    for (std::uint64_t h = 0; h < H_; ++h) {
      for (std::uint64_t f = 0; f < F; ++f) {
        w2.put({h, f}, down.at({h, on.rank * F + f}));
        s2.put({h / 128, f / 128}, scales.at({h / 128, (on.rank * F + f) / 128}));
      }
    }
    return {{"w13", w13}, {"s13", s13}, {"w2", w2}, {"s2", s2}};
  }

 private:
  static constexpr std::uint64_t F_all_ = 512, H_ = 256;
  const std::uint64_t world_;
};

/// gpt-oss: rows of gate and up in turn, in blocks of MXFP4 and their scales; to be laid one behind the other.
class GptOssLayout final : public ModelLayout {
 public:
  const char* name() const override { return "gpt-oss"; }
  std::uint64_t world() const override { return 4; }

  std::vector<TestTensor> tensors() const override {
    return by_name({{"down_proj_blocks", Dtype::u8, {E_, H_, F_all_ / 32, 16}},
                    {"down_proj_scales", Dtype::u8, {E_, H_, F_all_ / 32}},
                    {"gate_up_proj_bias", bf16, {E_, 2 * F_all_}},
                    {"gate_up_proj_blocks", Dtype::u8, {E_, 2 * F_all_, H_ / 32, 16}},
                    {"gate_up_proj_scales", Dtype::u8, {E_, 2 * F_all_, H_ / 32}}});
  }

  void build(Request& request, const Rank& on) const override {
    const std::uint64_t rank = on.rank, world = on.world, E = E_, H = H_, F_all = F_all_, F = F_all / world;
    auto& w13 = param(request, on, "w13", {E, 2 * F, H / 32, 16}, Dtype::u8);
    request.add("gate_up_proj_blocks")
        .to(w13, as({E, F_all, 2, H / 32, 16}).part(1, rank, world).order({0, 2, 1, 3, 4}), as({E, 2, F, H / 32, 16}));
    auto& s13 = param(request, on, "s13", {E, 2 * F, H / 32}, Dtype::u8);
    request.add("gate_up_proj_scales")
        .to(s13, as({E, F_all, 2, H / 32}).part(1, rank, world).order({0, 2, 1, 3}), as({E, 2, F, H / 32}));
    auto& b13 = param(request, on, "b13", {E, 2 * F}, bf16);
    request.add("gate_up_proj_bias").to(b13, as({E, F_all, 2}).part(1, rank, world).order({0, 2, 1}), as({E, 2, F}));
    request.add("down_proj_blocks").to(param(request, on, "w2", {E, H, F / 32, 16}, Dtype::u8), part(2, rank, world));
    request.add("down_proj_scales").to(param(request, on, "s2", {E, H, F / 32}, Dtype::u8), part(2, rank, world));
  }

  std::vector<Parameter> reference(const Rank& on) const override {
    const std::uint64_t F = F_all_ / on.world;
    Elements w13(Dtype::u8, {E_, 2 * F, H_ / 32, 16});
    Elements s13(Dtype::u8, {E_, 2 * F, H_ / 32});
    Elements b13(bf16, {E_, 2 * F});
    Elements w2(Dtype::u8, {E_, H_, F / 32, 16});
    Elements s2(Dtype::u8, {E_, H_, F / 32});
    const Elements blocks = elements("gate_up_proj_blocks");
    const Elements scales = elements("gate_up_proj_scales");
    const Elements bias = elements("gate_up_proj_bias");
    const Elements down_blocks = elements("down_proj_blocks");
    const Elements down_scales = elements("down_proj_scales");
    for (std::uint64_t e = 0; e < E_; ++e) {
      for (std::uint64_t half : {0, 1}) {
        for (std::uint64_t f = 0; f < F; ++f) {
          const std::uint64_t row = 2 * (on.rank * F + f) + half;
          b13.put({e, half * F + f}, bias.at({e, row}));
          for (std::uint64_t block = 0; block < H_ / 32; ++block) {
            s13.put({e, half * F + f, block}, scales.at({e, row, block}));
            for (std::uint64_t i = 0; i < 16; ++i) w13.put({e, half * F + f, block, i}, blocks.at({e, row, block, i}));
          }
        }
      }
      for (std::uint64_t h = 0; h < H_; ++h) {
        for (std::uint64_t block = 0; block < F / 32; ++block) {
          const std::uint64_t its = on.rank * (F / 32) + block;
          s2.put({e, h, block}, down_scales.at({e, h, its}));
          for (std::uint64_t i = 0; i < 16; ++i) w2.put({e, h, block, i}, down_blocks.at({e, h, its, i}));
        }
      }
    }
    return {{"w13", w13}, {"s13", s13}, {"b13", b13}, {"w2", w2}, {"s2", s2}};
  }

 private:
  static constexpr std::uint64_t E_ = 3, H_ = 64, F_all_ = 256;
};

/// GPTQ: eight weights in an I32, a scale and zero per group of them; q, k, v side by side, and down by rows.
class GptqLayout final : public ModelLayout {
 public:
  /// `group` weights have one scale. Where a rank would cut a group, scales and zeros are taken whole, as act-order
  /// needs.
  explicit GptqLayout(std::uint64_t its_group) : group_(its_group) {}

  const char* name() const override { return "GPTQ"; }
  std::uint64_t world() const override { return 2; }

  std::vector<TestTensor> tensors() const override {
    std::vector<TestTensor> all;
    const auto add = [&](const std::string& p, std::uint64_t K, std::uint64_t N) {
      all.push_back({p + "qweight", Dtype::i32, {K / 8, N}});
      all.push_back({p + "scales", f16, {K / group_, N}});
      all.push_back({p + "qzeros", Dtype::i32, {K / group_, N / 8}});
      all.push_back({p + "g_idx", Dtype::i32, {K}});
    };
    add("q_proj.", K_, q_all_);
    add("k_proj.", K_, kv_all_);
    add("v_proj.", K_, kv_all_);
    add("down_proj.", K_, N_);
    return by_name(all);
  }

  void build(Request& request, const Rank& on) const override {
    const std::uint64_t rank = on.rank, world = on.world;
    const std::uint64_t q = q_all_ / world, kv = kv_all_ / world;
    const auto columns = [](const std::string& n, std::uint64_t weights) {
      return n == "qzeros" ? weights / 8 : weights;
    };
    for (const std::string n : {"qweight", "scales", "qzeros"}) {
      const std::uint64_t rows = n == "qweight" ? K_ / 8 : K_ / group_;
      auto& qkv =
          param(request, on, "qkv." + n, {rows, columns(n, q + 2 * kv)}, n == "scales" ? f16 : Dtype::i32, Group{1});
      request.add("q_proj." + n).to(qkv, part(1, rank, world), take(1, 0, columns(n, q)));
      request.add("k_proj." + n).to(qkv, part(1, rank, world), take(1, columns(n, q), columns(n, kv)));
      request.add("v_proj." + n).to(qkv, part(1, rank, world), take(1, columns(n, q + kv), columns(n, kv)));
    }
    request.add("q_proj.g_idx").to(param(request, on, "qkv.g_idx", {K_}, Dtype::i32, Group{1}));
    const bool whole = K_ / world % group_ != 0;
    const Slice groups = whole ? Slice() : part(0, rank, world);
    const std::uint64_t rows = whole ? K_ / group_ : K_ / world / group_;
    request.add("down_proj.qweight")
        .to(param(request, on, "down.qweight", {K_ / world / 8, N_}, Dtype::i32), part(0, rank, world));
    request.add("down_proj.scales").to(param(request, on, "down.scales", {rows, N_}, f16), groups);
    request.add("down_proj.qzeros").to(param(request, on, "down.qzeros", {rows, N_ / 8}, Dtype::i32), groups);
    request.add("down_proj.g_idx").to(param(request, on, "down.g_idx", {K_ / world}, Dtype::i32), part(0, rank, world));
  }
  void build_once(Request& request) const override {
    request.add("*.g_idx").skip();  // q, k and v see their input in one order
    request.strict = true;
  }

  std::vector<Parameter> reference(const Rank& on) const override {
    std::vector<Parameter> all;
    for (const std::string n : {"qweight", "scales", "qzeros"}) {
      const std::uint64_t pack = n == "qzeros" ? 8 : 1, rows = n == "qweight" ? K_ / 8 : K_ / group_;
      const std::uint64_t q = q_all_ / on.world / pack, kv = kv_all_ / on.world / pack;
      Elements qkv(n == "scales" ? f16 : Dtype::i32, {rows, q + 2 * kv});
      const Elements of_q = elements("q_proj." + n), of_k = elements("k_proj." + n), of_v = elements("v_proj." + n);
      for (std::uint64_t row = 0; row < rows; ++row) {
        for (std::uint64_t i = 0; i < q; ++i) qkv.put({row, i}, of_q.at({row, on.rank * q + i}));
        for (std::uint64_t i = 0; i < kv; ++i) qkv.put({row, q + i}, of_k.at({row, on.rank * kv + i}));
        for (std::uint64_t i = 0; i < kv; ++i) qkv.put({row, q + kv + i}, of_v.at({row, on.rank * kv + i}));
      }
      all.push_back({"qkv." + n, qkv});
    }
    all.push_back({"qkv.g_idx", elements("q_proj.g_idx")});
    const std::uint64_t K = K_ / on.world;
    const Elements qweight = elements("down_proj.qweight"), g_idx = elements("down_proj.g_idx");
    const Elements scales = elements("down_proj.scales"), qzeros = elements("down_proj.qzeros");
    const bool cut = K % group_ != 0;
    const std::uint64_t first = cut ? 0 : on.rank * K / group_, rows = cut ? K_ / group_ : K / group_;
    Elements its_qweight(Dtype::i32, {K / 8, N_}), its_scales(f16, {rows, N_}), its_qzeros(Dtype::i32, {rows, N_ / 8});
    Elements its_g_idx(Dtype::i32, {K});
    for (std::uint64_t k = 0; k < K; ++k) its_g_idx.put({k}, g_idx.at({on.rank * K + k}));
    for (std::uint64_t n = 0; n < N_; ++n) {
      for (std::uint64_t k = 0; k < K / 8; ++k) its_qweight.put({k, n}, qweight.at({on.rank * K / 8 + k, n}));
      for (std::uint64_t row = 0; row < rows; ++row) its_scales.put({row, n}, scales.at({first + row, n}));
      for (std::uint64_t row = 0; row < rows; ++row) its_qzeros.put({row, n / 8}, qzeros.at({first + row, n / 8}));
    }
    all.insert(all.end(), {{"down.qweight", its_qweight},
                           {"down.scales", its_scales},
                           {"down.qzeros", its_qzeros},
                           {"down.g_idx", its_g_idx}});
    return all;
  }

 private:
  static constexpr std::uint64_t K_ = 128, q_all_ = 64, kv_all_ = 16, N_ = 24;
  const std::uint64_t group_;
};

inline std::vector<std::unique_ptr<ModelLayout>> all_layouts() {
  std::vector<std::unique_ptr<ModelLayout>> all;
  for (const std::uint64_t kv_heads : {8, 16, 2}) {
    for (const bool tied : {false, true}) all.push_back(std::make_unique<LlamaLayout>(kv_heads, tied));
  }
  all.push_back(std::make_unique<Qwen3MoeLayout>());
  all.push_back(std::make_unique<FusedExpertsLayout>());
  all.push_back(std::make_unique<DeepSeekLayout>(2));
  all.push_back(std::make_unique<DeepSeekLayout>(8));
  all.push_back(std::make_unique<GptOssLayout>());
  all.push_back(std::make_unique<GptqLayout>(32));
  all.push_back(std::make_unique<GptqLayout>(128));
  return all;
}

/// All ranks of a layout, asked for at once.
inline Request request_of(const ModelLayout& layout, const std::vector<Rank>& ranks) {
  Request request;
  for (const Rank& rank : ranks) layout.build(request, rank);
  layout.build_once(request);
  return request;
}

/// That every parameter of every rank is there and right, and nothing else.
inline void expect_laid_out(const Load& load, const ModelLayout& layout, const std::vector<Rank>& ranks) {
  std::uint64_t count = 0;
  for (const Rank& rank : ranks) {
    for (const Parameter& parameter : layout.reference(rank)) {
      const testing::ScopedTrace trace(__FILE__, __LINE__, fmt::format("{} of rank {}", parameter.name, rank.rank));
      ++count;
      const Tensor* const got = load.find(rank.prefix + parameter.name, rank.device);
      ASSERT_NE(got, nullptr);
      EXPECT_EQ(got->dtype, parameter.wanted.dtype());
      EXPECT_TRUE(std::equal(got->shape.begin(), got->shape.end(), parameter.wanted.shape().begin(),
                             parameter.wanted.shape().end()));
      ASSERT_EQ(got->bytes, parameter.wanted.content().size());
      std::vector<std::byte> bytes(got->bytes);
      load.read_back(*got, 0, bytes.data(), bytes.size());
      EXPECT_TRUE(same_bytes(bytes, parameter.wanted.content())) << "delivered bytes differ";
    }
  }
  EXPECT_EQ(load.progress().tensors_total, count);
}

}  // namespace sluice
