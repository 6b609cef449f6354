#!/usr/bin/env bash
# The embedded broker and all services as separate processes, on a folder:
#   test/services.sh [FOLDER]     (default: data/services in the checkout)
# Put Zeek logs below FOLDER/zeek, flow logs below FOLDER/flow, captures below
# FOLDER/packet, CloudTrail files below FOLDER/cloudtrail, exported entries of
# Google Cloud below FOLDER/gcp, Falco's JSON below FOLDER/falco (or POST it to
# 127.0.0.1:2801). Ctrl-C drains and stops all.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:-data/services}
broker=${EBB_BROKER:-127.0.0.1:9092}
mkdir -p "$dir"/{zeek,flow,packet,falco,cloudtrail,gcp,log}
pids=()
begin() { # NAME ARGS...
  local name=$1
  shift
  bin/"$name" "$@" >"$dir/log/$name.log" 2>&1 &
  pids+=($!)
}
stop() {
  trap - INT TERM EXIT
  # What produces stops before what consumes; the broker is the last.
  local i
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill -TERM "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || echo "process ${pids[i]} ended with $? (see $dir/log)" >&2
  done
}
trap stop INT TERM EXIT
begin ebbwatch broker --listen "$broker" --data "$dir/broker"
common=(-kafka.brokers "$broker" -kafka.embedded true)
[ -f "$dir/site.yaml" ] && common+=(-site "$dir/site.yaml")
begin correlate "${common[@]}"
begin detect "${common[@]}"
begin ingest-zeek "${common[@]}" -paths "$dir/zeek"
begin ingest-flow "${common[@]}" -paths "$dir/flow"
begin ingest-packet "${common[@]}" -paths "$dir/packet"
begin ingest-falco "${common[@]}" -paths "$dir/falco" -webhook.listen 127.0.0.1:2801
begin ingest-cloudtrail "${common[@]}" -paths "$dir/cloudtrail"
begin ingest-gcp "${common[@]}" -paths "$dir/gcp"
echo "services run; records go below $dir, logs are in $dir/log"
echo "alerts:  kcat -b $broker -t ebb.alerts.v1 -C -q"
echo "metrics: http://127.0.0.1:9610/metrics (detect), 9611 (correlate), 9601 to 9606 (ingest)"
wait -n "${pids[@]}" || true
echo "a process has ended; stopping the others (see $dir/log)" >&2
