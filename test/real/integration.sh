#!/usr/bin/env bash
# The engine on a real Kafka: its integration tests, and a short crash series in
# which services and nodes are killed.
#   test/real/integration.sh [RUNS]    (default: 3 runs)
# Where Java or Maven is missing it says so and does nothing, except in CI
# (CI=true), where that is a failure. Bounded: about six minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
kafka=test/real/kafka.sh
if ! missing=$($kafka check 2>&1); then
  echo "real Kafka: $missing" >&2
  [ -n "${CI:-}" ] && [ "${CI:-}" != false ] && exit 1
  echo "real Kafka: skipped" >&2
  exit 0
fi
export EBB_KAFKA_NAME=${EBB_KAFKA_NAME:-integration} EBB_KAFKA_PORT=${EBB_KAFKA_PORT:-19190}
trap '$kafka stop' EXIT
brokers=$(timeout 240 $kafka start nodes=3)
echo "real Kafka: three nodes at $brokers"

# Tests that forge answers of the broker need kfake; these do not.
tests='TestOutputsAreThoseOfTheOracle|TestTwoInputsHaveTheirOwnPlaces|TestCommittedOutputsAreToldOnce|TestDrainLeavesNothingToReplay|TestRebalance'
tests+='|TestKilledAnywhere|TestEventsAndPositionAreOneCommit|TestTheTailOfATopicCanBeRead|TestReadingEndsBehindAnOpenTransaction|TestAStalledReadIsAnError'
tests+='|TestAbortsWithoutEndAreAnError|TestAnOutputThatNoTopicTakes|TestTopicsThatChangeUnderAService|TestPanicEndsTheProcess'
go test -count=1 -timeout 4m ./internal/stream -run "^($tests)\$" -brokers "${brokers%%,*}" -parallel 1 -crashes 2

# An upstream that is no code of ours, on a cluster that is none either.
if test/real/upstreams.sh check >/dev/null; then
  go test -count=1 -timeout 2m ./internal/ingest/topics -run '^TestRsyslog$' -brokers "${brokers%%,*}"
fi

go build -trimpath -tags ebbcrash -o bin/crash/ ./cmd/... ./internal/crash/series
timeout 240 bin/crash/series -bin bin/crash -runs "${1:-3}" -seed 1 -kafka real -brokers "$brokers" -log data/crash/series.log
