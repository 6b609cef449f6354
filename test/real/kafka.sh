#!/usr/bin/env bash
# A real Apache Kafka (KRaft) for tests, on loopback, from Maven:
#   test/real/kafka.sh check                    is there what it needs?
#   test/real/kafka.sh install                  into the cache folder (54 MB)
#   test/real/kafka.sh start [nodes=1|3]        installs if needed; prints the addresses
#   test/real/kafka.sh node start|stop|kill N   one node of the running cluster
#   test/real/kafka.sh stop
# Three nodes replicate everything three times, min.insync.replicas 2.
# Environment: EBB_REAL the folder for programs and data (default: ebbwatch-real
# in the user's cache), EBB_KAFKA_PORT the first port of ten (default 19090),
# EBB_KAFKA_NAME the cluster's name, one for each that runs (default: kafka).
# Needs Java 17 or later and Maven: apt-get install openjdk-17-jre-headless maven
set -euo pipefail
version=4.3.1
log4j=2.25.4
real=${EBB_REAL:-${XDG_CACHE_HOME:-$HOME/.cache}/ebbwatch-real}
port=${EBB_KAFKA_PORT:-19090}
name=${EBB_KAFKA_NAME:-kafka}
libs=$real/kafka-$version/libs
dir=$real/run/$name
fail() {
  echo "kafka.sh: $*" >&2
  exit 1
}

check() {
  command -v java >/dev/null || fail "java is missing: apt-get install openjdk-17-jre-headless"
  local major
  major=$(java -version 2>&1 | sed -nE '1s/.*"([0-9]+).*/\1/p')
  [ "${major:-0}" -ge 17 ] || fail "Kafka $version needs Java 17 or later, found ${major:-none}"
  [ -f "$libs/.complete" ] || command -v mvn >/dev/null || fail "mvn is missing: apt-get install maven"
}

install() {
  check
  [ -f "$libs/.complete" ] && return
  local pom=$real/kafka-$version/pom.xml
  mkdir -p "$libs"
  cat >"$pom" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ebbwatch</groupId><artifactId>kafka-for-tests</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$log4j</version></dependency>
  </dependencies>
</project>
XML
  (cd "$real/kafka-$version" && timeout 300 mvn -q -B -f "$pom" dependency:copy-dependencies -DoutputDirectory="$libs" >&2) ||
    fail "Maven could not fetch Kafka $version (no repository within reach?)"
  touch "$libs/.complete"
}

# Node N uses port+2N (clients) and port+2N+1 (controllers).
client() { echo "127.0.0.1:$((port + 2 * $1))"; }
controller() { echo "127.0.0.1:$((port + 2 * $1 + 1))"; }

properties() { # NODE NODES
  local voters="" i copies=1 insync=1
  for ((i = 1; i <= $2; i++)); do voters+=${voters:+,}$i@$(controller "$i"); done
  [ "$2" -ge 3 ] && copies=3 insync=2
  cat <<P
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$voters
listeners=PLAINTEXT://$(client "$1"),CONTROLLER://$(controller "$1")
advertised.listeners=PLAINTEXT://$(client "$1")
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$dir/data$1
default.replication.factor=$copies
min.insync.replicas=$insync
offsets.topic.replication.factor=$copies
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$insync
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=$insync
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
share.coordinator.state.topic.num.partitions=1
auto.create.topics.enable=false
# Tests are short: members, dead nodes and dead transactions are noticed soon.
group.min.session.timeout.ms=500
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
replica.lag.time.max.ms=3000
transaction.abort.timed.out.transaction.cleanup.interval.ms=250
log.cleaner.enable=true
log.segment.delete.delay.ms=1000
P
}

# Not a function: $! of a background function is a shell, not the JVM.
java=(java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Dlog4j2.configurationFile=$dir/log4j2.yaml" -cp "$libs/*")

alive() { [ -f "$dir/$1.pid" ] && kill -0 "$(cat "$dir/$1.pid")" 2>/dev/null; }

node_start() {
  alive "$1" && return
  [ -f "$dir/$1.properties" ] || fail "there is no node $1: start the cluster first"
  "${java[@]}" -Xmx384m kafka.Kafka "$dir/$1.properties" >>"$dir/$1.log" 2>&1 </dev/null &
  echo $! >"$dir/$1.pid"
}

# node_end NODE SIGNAL: sends it and waits until the process is gone.
node_end() {
  alive "$1" || return 0
  local pid i
  pid=$(cat "$dir/$1.pid")
  kill "-$2" "$pid"
  for ((i = 0; i < 300; i++)); do
    if ! kill -0 "$pid" 2>/dev/null; then
      rm -f "$dir/$1.pid"
      return
    fi
    [ "$i" -eq 200 ] && kill -KILL "$pid" 2>/dev/null
    sleep 0.1
  done
  fail "node $1 (process $pid) does not end"
}

start() { # NODES
  case $1 in 1 | 3) ;; *) fail "nodes: 1 or 3" ;; esac
  install
  if [ -f "$dir/nodes" ] && [ "$(cat "$dir/nodes")" != "$1" ]; then stop; fi
  mkdir -p "$dir"
  cat >"$dir/log4j2.yaml" <<Y
Configuration:
  Appenders:
    Console: {name: C, PatternLayout: {pattern: "%d %p %m (%c)%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: C}}
    Logger: [{name: kafka.server.KafkaRaftServer, level: INFO}]
Y
  local i addresses=""
  for ((i = 1; i <= $1; i++)); do
    properties "$i" "$1" >"$dir/$i.properties"
    [ -f "$dir/data$i/meta.properties" ] ||
      "${java[@]}" -Xmx128m kafka.tools.StorageTool format -t 4L6g3nShT-eMCtK--X86sw -c "$dir/$i.properties" >"$dir/$i.log" 2>&1 ||
      fail "format of node $i failed, see $dir/$i.log"
    node_start "$i"
    addresses+=${addresses:+,}$(client "$i")
  done
  echo "$1" >"$dir/nodes"
  # Ready once every node answers for the cluster.
  local end=$((SECONDS + 120))
  for ((i = 1; i <= $1; i++)); do
    until (echo >"/dev/tcp/127.0.0.1/$((port + 2 * i))") 2>/dev/null; do
      alive "$i" || fail "node $i has ended, see $dir/$i.log"
      [ $SECONDS -lt $end ] || fail "node $i does not listen after 120 s, see $dir/$i.log"
      sleep 0.2
    done
  done
  until [ "$(timeout 30 "${java[@]}" -Xmx128m org.apache.kafka.tools.BrokerApiVersionsCommand \
    --bootstrap-server "$addresses" 2>/dev/null | grep -c '(id: ')" -ge "$1" ]; do
    [ $SECONDS -lt $end ] || fail "the cluster is not complete after 120 s, see $dir/*.log"
    sleep 0.5
  done
  echo "$addresses"
}

stop() {
  local pid
  for pid in "$dir"/*.pid; do
    [ -e "$pid" ] || continue
    node_end "$(basename "$pid" .pid)" KILL
  done
  rm -rf "$dir"
}

case ${1:-} in
check) check ;;
install) install ;;
start)
  nodes=${2:-1}
  start "${nodes#nodes=}"
  ;;
stop) stop ;;
node)
  case ${2:-} in
  start) node_start "${3:?node}" ;;
  stop) node_end "${3:?node}" TERM ;;
  kill) node_end "${3:?node}" KILL ;;
  *) fail "node start|stop|kill N" ;;
  esac
  ;;
*)
  sed -n '2,/^set -/p' "$0" | sed -e '$d' -e 's/^# \{0,1\}//' >&2
  exit 2
  ;;
esac
