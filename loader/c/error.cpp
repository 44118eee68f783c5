// Errors, texts and the version of sluice.h.
#include "sluice/error.hpp"

#include <type_traits>

#include "loader/c/border.hpp"
#include "loader/c/handles.hpp"
#include "sluice/sluice.h"

using sluice::Error;
using sluice::ErrorCode;

const char* sluice_code_name(int code) {
  if (code < SLUICE_INVALID_ARGUMENT || code > SLUICE_BAD_RULES) return nullptr;
  return name(static_cast<ErrorCode>(code)).data();
}

int sluice_error_code(const sluice_error* error) {
  return error == nullptr ? SLUICE_OK : static_cast<int>(error->error.code());
}
const char* sluice_error_text(const sluice_error* error) {
  return error == nullptr ? "" : error->error.what();
}
sluice_string sluice_error_message(const sluice_error* error) {
  return error == nullptr ? sluice_str("") : sluice::border::string(error->error.message());
}
sluice_string sluice_error_hint(const sluice_error* error) {
  return error == nullptr ? sluice_str("") : sluice::border::string(error->error.hint());
}
sluice_string sluice_error_path(const sluice_error* error) {
  return error == nullptr ? sluice_str("") : sluice::border::string(error->error.path());
}
sluice_string sluice_error_tensor(const sluice_error* error) {
  return error == nullptr ? sluice_str("") : sluice::border::string(error->error.tensor());
}
std::uint32_t sluice_error_line(const sluice_error* error) {
  return error == nullptr ? 0 : error->error.line();
}
std::uint32_t sluice_error_column(const sluice_error* error) {
  return error == nullptr ? 0 : error->error.column();
}
int sluice_error_offset(const sluice_error* error, std::uint64_t* offset) {
  if (error == nullptr || !error->error.offset()) return 0;
  if (offset != nullptr) *offset = *error->error.offset();
  return 1;
}
void sluice_error_free(sluice_error* error) {
  delete error;
}

sluice_string sluice_text_string(const sluice_text* text) {
  return text == nullptr ? sluice_str("") : sluice::border::string(text->text);
}
void sluice_text_free(sluice_text* text) {
  delete text;
}

std::uint32_t sluice_version() {
  return SLUICE_VERSION;
}
