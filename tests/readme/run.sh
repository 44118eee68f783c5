#!/usr/bin/env bash
# Runs README's example ($1) on a checkpoint of two tensors and compares what it says.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

header='{"a.norm":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'
# The header's length as eight bytes, then the header, then two floats.
printf "\\x$(printf %02x ${#header})\0\0\0\0\0\0\0%s\0\0\x80\x3f\0\0\0\x40" "$header" >"$folder/model.safetensors"

said=$("$1" "$folder" | sed 's/ at 0x[0-9a-f]*$/ at an address/' | sort)
wanted="2 tensors, $((8 + ${#header} + 8)) bytes to read
a.norm at an address
b at an address"
if [[ $said != "$wanted" ]]; then
  printf 'wanted:\n%s\nsaid:\n%s\n' "$wanted" "$said"
  exit 1
fi
