#!/usr/bin/env bash
# The alert rules through the real promtool:
#   test/real/prometheus.sh [check|install|test]      (default: install and test)
# Installs Debian's prometheus package where promtool is missing and this may
# be done (root); otherwise says so and ends with 3: nothing was tested.
set -euo pipefail
cd "$(dirname "$0")/../.."
check() { command -v promtool >/dev/null; }
install() {
  check && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "prometheus.sh: promtool is missing and cannot be installed: apt-get install prometheus" >&2
    return 3
  fi
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update && apt-get install -y --no-install-recommends prometheus; } >/dev/null 2>&1 && check || {
    echo "prometheus.sh: apt-get install prometheus failed" >&2
    return 3
  }
}
run() {
  promtool check rules deploy/prometheus/ebbwatch.rules.yml
  promtool test rules deploy/prometheus/ebbwatch.rules.test.yml
}
case ${1:-all} in
  check) check ;;
  install) install ;;
  test) run ;;
  all) install && run ;;
  *) echo "usage: $0 [check|install|test]" >&2; exit 2 ;;
esac
