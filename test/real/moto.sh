#!/usr/bin/env bash
# S3 and SQS for the tests: moto server in a virtual environment of its own.
#
#   moto.sh install          into $EBB_REAL (default: .real below the repository)
#   moto.sh start PORT LOG   installs where needed, serves on 127.0.0.1:PORT
#                            in the foreground
#   moto.sh path             prints the server's path, exit 1 where it is absent
set -euo pipefail
version=5.2.5
root=${EBB_REAL:-$(cd "$(dirname "$0")/../.." && pwd)/.real}
server=$root/moto-$version/bin/moto_server

install() {
	[ -x "$server" ] && return
	mkdir -p "$root"
	rm -rf "$root/moto-$version" # half an installation
	python3 -m venv "$root/moto-$version"
	"$root/moto-$version/bin/pip" install -q --disable-pip-version-check "moto[server]==$version" || {
		rm -rf "$root/moto-$version"
		return 1
	}
}

case ${1:-} in
install) install ;;
path) [ -x "$server" ] && echo "$server" ;;
start)
	install
	exec "$server" -H 127.0.0.1 -p "$2" >"$3" 2>&1
	;;
*)
	echo "usage: moto.sh install | start PORT LOG | path" >&2
	exit 2
	;;
esac
