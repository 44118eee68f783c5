#!/usr/bin/env bash
# Installs from build folder $2, with CMake $1, what a Python package carries for C++, and moves it to $3, whose name is the
# package's. With a Python, $4, the package itself is put there as well, and must say where all of that is.
set -euo pipefail
cmake=$1 build=$2 bundle=$3 python=${4-}
rm -rf "$bundle" "$bundle.elsewhere"
mkdir -p "$(dirname "$bundle")"
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

if [[ $python ]]; then
  cp -rL "$build/python/sluice/." "$bundle"
  says() { PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=${bundle%/*} "$python" -c "import sluice; print(sluice.$1())"; }
  [[ $(says get_include) == "$bundle/include" && -e $(says get_include)/sluice/sluice.h ]]
  [[ -e $(says get_cmake_dir)/sluiceConfig.cmake ]]
fi
