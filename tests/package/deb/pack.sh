#!/usr/bin/env bash
# Packs what was built in $1 for Debian and unpacks it into $3/unpacked: all that `cmake --install` gave $2, each file in one
# package, and version ($4) and dependencies as they must be.
set -euo pipefail
build=$1 prefix=$2 deb=$3 version=$4
rm -rf "$deb" && mkdir -p "$deb/unpacked"
cpack -G DEB --config "$build/CPackConfig.cmake" -B "$deb" >"$deb/log" || { cat "$deb/log"; exit 1; }

# fails <what is wrong>
fails() {
  echo "$*"
  exit 1
}

files() { (cd "$1" && find . ! -type d ! -path './share/doc/*' | sort); }

mapfile -t packages < <(find "$deb" -maxdepth 1 -name '*.deb')
[[ ${#packages[@]} == 3 ]] || fails "packages: ${packages[*]}"
for package in "${packages[@]}"; do
  name=$(dpkg-deb -f "$package" Package)
  [[ $(dpkg-deb -f "$package" Version) == "$version"-* ]] || fails "$name has version $(dpkg-deb -f "$package" Version)"
  dpkg-deb -x "$package" "$deb/$name"
  [[ -s $deb/$name/usr/share/doc/$name/copyright ]] || fails "$name has no licence"
  files "$deb/$name/usr" >>"$deb/files"
  cp -a "$deb/$name/." "$deb/unpacked"
done
diff <(files "$prefix") <(sort "$deb/files") || fails "the packages (>) have not what an installation has (<)"

# depends <package> <what it must depend on...>
depends() {
  local said name=$1
  said=$(dpkg-deb -f "$deb/$name"_*.deb Depends)
  for other in "${@:2}"; do
    [[ ", $said" == *", $other ("* ]] || fails "$name does not depend on $other: $said"
  done
}
library=libsluice${version%.*}
depends "$library" libc6 libstdc++6 libfmt9 libsimdjson14 libhwy1 liburing2
depends sluice-tools libssl3
depends libsluice-dev "$library"
