#!/usr/bin/env bash
# Installs from build folder $2, with CMake $1, what a Python package carries for C++, and moves it to $3.
set -euo pipefail
cmake=$1 build=$2 bundle=$3
rm -rf "$bundle" "$bundle.elsewhere"
for component in runtime development; do
  "$cmake" --install "$build" --prefix "$bundle.elsewhere" --component "$component" >/dev/null
done
mv "$bundle.elsewhere" "$bundle"

# A wheel knows no links: each would be another copy of the library.
[[ -z $(find "$bundle" -type l) ]] || { find "$bundle" -type l; exit 1; }
if grep -rlF -e "$build" -e "$bundle" "$bundle" --include='*.cmake'; then
  echo "these name the folder where they were made"
  exit 1
fi
