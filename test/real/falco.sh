#!/usr/bin/env bash
# Builds a checker of Falco rules on Falco's own library (Debian's package, of
# 2022: fields that are younger are checked as others of their type) and prints
# its path:
#   EBB_FALCO_CHECK=$(test/real/falco.sh) go test ./internal/deploy
set -euo pipefail
cd "$(dirname "$0")"
out=${EBB_REAL:-${XDG_CACHE_HOME:-$HOME/.cache}/ebbwatch-real}/falco_check
if [ "$out" -nt falco_check.cpp ]; then
  echo "$out"
  exit 0
fi
headers=/usr/include/falcosecurity-libs
if [ ! -d "$headers" ]; then
  command -v apt-get >/dev/null || { echo "falco.sh: needs Debian's package libfalcosecurity0-dev" >&2; exit 1; }
  {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends g++ libfalcosecurity0-dev libtbb-dev libjsoncpp-dev \
      libluajit-5.1-dev libelf-dev libb64-dev zlib1g-dev libcurl4-openssl-dev
  } >&2
fi
mkdir -p "$(dirname "$out")"
includes=(-I"$headers" -I"$headers/common" -I"$headers/driver" -I/usr/include/jsoncpp)
while read -r d; do includes+=(-I"$d"); done < <(find "$headers/userspace" -maxdepth 1 -type d)
g++ -std=c++17 -w "${includes[@]}" falco_check.cpp -o "$out" -lsinsp -lscap >&2
echo "$out"
