#include "loader/engine/binding_pieces.hpp"

#include <algorithm>
#include <utility>

#include "loader/engine/piece_memory.hpp"
#include "loader/plan/arena_pieces.hpp"

namespace sluice {

BindingPieces::BindingPieces(LoadState& state, Workers& workers, std::shared_ptr<Wakeup> wakeup)
    : state_(state),
      plan_(state.plan()),
      wakeup_(wakeup),
      bound_(plan_.pieces.size(), wakeup),
      returned_(std::make_shared<PieceMarks>(plan_.pieces.size(), std::move(wakeup))),
      devices_(plan_.devices.size()),
      is_bound_(plan_.pieces.size()),
      unread_(plan_.pieces.size()),
      tasks_(workers) {
  if (plan_.pieces.empty()) return;
  state_.watch(returned_);
  sort_pieces();
  find_unread();
}

void BindingPieces::sort_pieces() {
  for (std::uint32_t i = 0; i < plan_.pieces.size(); ++i) devices_[plan_.pieces[i].device].pieces.push_back(i);
  for (OnDevice& on : devices_) {
    std::stable_sort(on.pieces.begin(), on.pieces.end(), [this](std::uint32_t a, std::uint32_t b) {
      return plan_.pieces[a].first_extent < plan_.pieces[b].first_extent;
    });
  }
}

void BindingPieces::find_unread() {
  for (std::uint32_t i = 0; i < plan_.placements.size(); ++i) {
    if (plan_.placements[i].deliveries != 0) continue;
    if (const auto piece = piece_of(plan_, plan_.placements[i])) unread_[*piece].push_back(i);
  }
}

void BindingPieces::advance(std::span<const std::shared_ptr<Arena>> arenas, std::uint32_t next_extent,
                            std::vector<std::uint32_t>& complete) {
  if (plan_.pieces.empty()) return;
  take_bound(arenas, complete);
  take_returned();
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    OnDevice& on = devices_[i];
    const std::uint64_t most = plan_.costs.devices[i].arena_peak_bytes;
    while (on.begun < on.pieces.size()) {
      const ArenaPiece& piece = plan_.pieces[on.pieces[on.begun]];
      // One piece ahead of what is needed, so that nobody waits for a driver.
      const bool is_ahead = piece.first_extent > next_extent;
      if (is_ahead && on.begun > on.covered) break;
      if (is_ahead && on.begun > 0 && plan_.pieces[on.pieces[on.begun - 1]].first_extent > next_extent) break;
      if (on.there_bytes + piece.bytes > most) break;
      begin(on, *arenas[i]);
    }
  }
}

bool BindingPieces::covers(std::uint32_t extent) const noexcept {
  return std::all_of(devices_.begin(), devices_.end(), [&](const OnDevice& on) {
    return on.covered == on.pieces.size() || plan_.pieces[on.pieces[on.covered]].first_extent > extent;
  });
}

bool BindingPieces::will_cover(std::uint32_t extent) const noexcept {
  for (std::size_t i = 0; i < devices_.size(); ++i) {
    std::uint64_t bytes = 0;
    for (const std::uint32_t number : devices_[i].pieces) {
      if (plan_.pieces[number].first_extent > extent) break;
      bytes += plan_.pieces[number].bytes;
    }
    if (bytes > plan_.costs.devices[i].arena_peak_bytes) return false;
  }
  return true;
}

void BindingPieces::tell_whether_held_up(std::uint32_t next_extent, bool is_idle) {
  const bool is_binding =
      std::any_of(devices_.begin(), devices_.end(), [](const OnDevice& on) { return on.covered < on.begun; });
  if (returned_->await(is_idle && !is_binding && !covers(next_extent))) state_.tell_held_up();
}

void BindingPieces::begin(OnDevice& on, Arena& arena) {
  const std::uint32_t number = on.pieces[on.begun];
  tasks_.run([this, number, &arena] { bind(number, arena); });
  ++on.begun;
  on.there_bytes += plan_.pieces[number].bytes;
  there_bytes_ += plan_.pieces[number].bytes;
  peak_bytes_ = std::max(peak_bytes_, there_bytes_);
}

void BindingPieces::bind(std::uint32_t number, Arena& arena) noexcept {
  std::exception_ptr error;
  try {
    const ArenaPiece& piece = plan_.pieces[number];
    arena.bind(piece.offset, piece.bytes, has_fills(number));
    return bound_.add(number);
  } catch (...) {
    error = std::current_exception();
  }
  const MutexLock lock(mutex_);
  error_ = std::move(error);
  wakeup_->notify();
}

/// Whether something in the piece is to be zero that nothing is delivered to.
bool BindingPieces::has_fills(std::uint32_t number) const {
  return std::any_of(plan_.fills.begin(), plan_.fills.end(),
                     [&](const Fill& fill) { return piece_of(plan_, plan_.placements[fill.placement]) == number; });
}

void BindingPieces::take_bound(std::span<const std::shared_ptr<Arena>> arenas, std::vector<std::uint32_t>& complete) {
  {
    const MutexLock lock(mutex_);
    if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
  }
  for (const std::uint32_t number : bound_.take()) {
    const ArenaPiece& piece = plan_.pieces[number];
    state_.add_piece(number, std::make_shared<PieceMemory>(arenas[piece.device], piece, number, returned_));
    is_bound_[number] = true;
    complete.insert(complete.end(), unread_[number].begin(), unread_[number].end());
    OnDevice& on = devices_[piece.device];
    while (on.covered < on.pieces.size() && is_bound_[on.pieces[on.covered]]) ++on.covered;
  }
}

void BindingPieces::take_returned() {
  for (const std::uint32_t number : returned_->take()) {
    const ArenaPiece& piece = plan_.pieces[number];
    devices_[piece.device].there_bytes -= piece.bytes;
    there_bytes_ -= piece.bytes;
  }
}

}  // namespace sluice
