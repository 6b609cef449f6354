#!/usr/bin/env bash
# Fuzzes every target in turn, one worker each, and keeps the corpus.
#
#   DURATION=10m  for each target (default 10s)
#   ONLY=REGEX    only targets whose "FOLDER NAME" matches
#   CORPUS=DIR    where the corpus lives between runs (default data/fuzz)
#   KEEP=N        copy the N smallest new inputs of each target, below 2 KiB, to its
#                 testdata/fuzz, which go test replays (default 0)
#
# A finding is written to testdata/fuzz of its package by go itself; the others go
# on, and the exit code is 1. A line for each target says how long it ran and how
# many inputs it tried. An input that reached something new is made smaller for a
# second at most: go's default of a minute each leaves no time to try others.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOTOOLCHAIN=local
duration=${DURATION:-10s} only=${ONLY:-.} keep=${KEEP:-0}
mkdir -p "${CORPUS:-data/fuzz}"
corpus=$(cd "${CORPUS:-data/fuzz}" && pwd)
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
failed=0
while read -r pkg; do
	built=
	for f in $(grep -hoE '^func Fuzz[A-Za-z0-9]+' "$pkg"/*_test.go | sed 's/func //'); do
		grep -qE "$only" <<<"$pkg $f" || continue
		if [ -z "$built" ]; then go test -c -fuzz=. -o "$bin/fuzz.test" "./$pkg" && built=1; fi
		began=$SECONDS
		if (cd "$pkg" && "$bin/fuzz.test" -test.run='^$' -test.fuzz="^$f\$" -test.fuzztime="$duration" -test.parallel=1 -test.fuzzminimizetime=1s \
			-test.fuzzcachedir="$corpus/$pkg") >"$bin/log" 2>&1; then
			verdict=ok
		else
			verdict=FINDING failed=1
			tail -n 40 "$bin/log" >&2
		fi
		execs=$(grep -oE 'execs: [0-9]+' "$bin/log" | tail -n1 | grep -oE '[0-9]+' || echo 0)
		have=$(find "$corpus/$pkg/$f" -type f 2>/dev/null | wc -l)
		printf '%-28s %-24s %5ds %10s inputs tried, %5d kept  %s\n' "$pkg" "$f" "$((SECONDS - began))" "$execs" "$have" "$verdict"
		if [ "$keep" -gt 0 ] && [ "$have" -gt 0 ]; then
			mkdir -p "$pkg/testdata/fuzz/$f"
			find "$corpus/$pkg/$f" -type f -size -5 -printf '%s %p\n' | sort -n | head -n "$keep" | cut -d' ' -f2- | xargs -rI{} cp -n {} "$pkg/testdata/fuzz/$f/"
		fi
	done
done < <(grep -rlE '^func Fuzz' --include='*_test.go' pkg internal | xargs -n1 dirname | sort -u)
exit $failed
