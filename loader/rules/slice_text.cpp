#include "loader/rules/slice_text.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <utility>

#include "loader/base/limits.hpp"

namespace sluice::rules {
namespace {

// Takes numbers with commas between them, up to `close`.
std::vector<Expression> parse_numbers(Cursor& cursor, Symbols& symbols, std::string_view close) {
  std::vector<Expression> numbers;
  if (cursor.take(close)) return numbers;
  for (;;) {
    if (numbers.size() == limits::dimensions_max) {
      cursor.text().refuse(cursor.place(), fmt::format("more than {} dimensions", limits::dimensions_max));
    }
    numbers.push_back(Expression::parse(cursor, symbols));
    if (cursor.take(close)) return numbers;
    cursor.expect(",", fmt::format("',', '{}' or an operator", close));
  }
}

}  // namespace

std::vector<Expression> parse_shape(Cursor& cursor, Symbols& symbols) {
  cursor.expect("[", "'[' and a shape");
  return parse_numbers(cursor, symbols, "]");
}

std::vector<std::uint64_t> shape_of(const std::vector<Expression>& sizes, const Scope& scope) {
  std::vector<std::uint64_t> shape;
  shape.reserve(sizes.size());
  for (const Expression& size : sizes) shape.push_back(size.count(scope, "a size"));
  return shape;
}

SliceText SliceText::parse(Cursor& cursor, Symbols& symbols) {
  SliceText slice;
  slice.place_ = cursor.place();
  bool cut_before_shape = false;
  for (;;) {
    const Place place = cursor.place();
    if (cursor.sees("[")) {
      if (cut_before_shape && slice.shape_) {
        cursor.text().refuse(place, "brackets on both sides of 'as'", "write all of them behind it");
      }
      slice.brackets_.push_back(parse_brackets(cursor, symbols));
    } else if (cursor.take_word("as")) {
      if (slice.shape_) cursor.text().refuse(place, "a second 'as'", "a slice is seen with one shape");
      cut_before_shape = !slice.brackets_.empty();
      slice.shape_ = parse_shape(cursor, symbols);
    } else {
      break;
    }
  }
  if (cursor.take_word("order")) {
    cursor.expect("(", "'(' and dimensions");
    slice.order_ = parse_numbers(cursor, symbols, ")");
  }
  return slice;
}

std::vector<SliceText::Index> SliceText::parse_brackets(Cursor& cursor, Symbols& symbols) {
  cursor.expect("[", "'['");
  std::vector<Index> indices;
  for (;;) {
    if (indices.size() == limits::dimensions_max) {
      cursor.text().refuse(cursor.place(), fmt::format("more than {} dimensions", limits::dimensions_max));
    }
    indices.push_back(parse_index(cursor, symbols));
    if (cursor.take("]")) return indices;
    cursor.expect(",", "',', ']', ':' or an operator");
  }
}

SliceText::Index SliceText::parse_index(Cursor& cursor, Symbols& symbols) {
  Index index;
  if (cursor.take_word("part")) {
    index.what = Index::What::part;
    index.first = Expression::parse(cursor, symbols);
    if (!cursor.take_word("of")) cursor.refuse("'of' or an operator");
    index.second = Expression::parse(cursor, symbols);
    return index;
  }
  if (!cursor.sees(":")) index.first = Expression::parse(cursor, symbols);
  if (!cursor.take(":")) {
    index.what = Index::What::one;
    return index;
  }
  if (!cursor.sees(",") && !cursor.sees("]")) index.second = Expression::parse(cursor, symbols);
  if (index.first || index.second) index.what = Index::What::range;
  return index;
}

void SliceText::cut(Slice& slice, unsigned dimension, const Index& index, const Scope& scope) {
  switch (index.what) {
    case Index::What::all:
      return;
    case Index::What::one:
      slice.at(dimension, index.first->count(scope, "the index"));
      return;
    case Index::What::part: {
      const std::uint64_t which = index.first->count(scope, "the number of the part");
      slice.part(dimension, which, index.second->count(scope, "the number of parts"));
      return;
    }
    case Index::What::range:
      const std::uint64_t begin = index.first ? index.first->count(scope, "the begin") : 0;
      if (!index.second) {
        slice.take(dimension, begin);
        return;
      }
      const std::uint64_t end = index.second->count(scope, "the end");
      if (end < begin) {
        scope.refuse(index.second->place(), fmt::format("the range {}:{} ends before it begins", begin, end));
      }
      slice.take(dimension, begin, end - begin);
  }
}

Slice SliceText::slice(const Scope& scope) const {
  Slice slice;
  if (shape_) slice.as(shape_of(*shape_, scope));
  for (const std::vector<Index>& indices : brackets_) {
    for (unsigned i = 0; i < indices.size(); ++i) cut(slice, i, indices[i], scope);
  }
  if (order_) {
    std::vector<unsigned> dimensions;
    for (const Expression& dimension : *order_) {
      dimensions.push_back(static_cast<unsigned>(dimension.count(scope, "a dimension", limits::dimensions_max - 1)));
    }
    slice.order(dimensions);
  }
  return slice;
}

}  // namespace sluice::rules
