#!/usr/bin/env bash
# Programs that write to Kafka on their own, as upstreams for the tests of
# internal/ingest/topics: rsyslog with omkafka, and kcat in the manner of
# falcosidekick's Kafka output.
#
#   upstreams.sh check     exit 1 and say what is absent
#   upstreams.sh install   by apt-get where absent
set -euo pipefail
check() {
  local missing=() module
  command -v rsyslogd >/dev/null || missing+=(rsyslog)
  module=$(ls /usr/lib/*/rsyslog/omkafka.so 2>/dev/null) || missing+=(rsyslog-kafka)
  command -v kcat >/dev/null || missing+=(kcat)
  [ ${#missing[@]} -eq 0 ] || { echo "${missing[*]}"; return 1; }
}
case ${1:-} in
check) check || exit 1 ;;
install)
  missing=$(check) && exit 0
  command -v apt-get >/dev/null || { echo "upstreams.sh: needs Debian's packages $missing" >&2; exit 1; }
  apt-get update -qq >&2
  # shellcheck disable=SC2086 # a list of words
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
  ;;
*)
  echo "usage: upstreams.sh check | install" >&2
  exit 2
  ;;
esac
