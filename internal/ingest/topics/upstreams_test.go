package topics_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/ingest"
	"github.com/ebbwatch/ebbwatch/internal/realtest"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// realBrokers is a cluster whose topics may hold what other tests wrote.
var realBrokers = flag.String("brokers", "", "run the upstreams against this Kafka (host:port) instead of kfake")

// upstreamWorld is a cluster with topics that others write.
func upstreamWorld(t *testing.T, others ...string) *world {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "../../../test/real/upstreams.sh", "check").Output(); err != nil {
		realtest.Missing(t, "not installed: "+strings.TrimSpace(string(out))+": run test/real/upstreams.sh install")
	}
	if *realBrokers == "" {
		return newWorld(t, others...)
	}
	w := &world{t: t, brokers: []string{*realBrokers}, real: true}
	var err error
	if w.client, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	adm := kadm.NewClient(w.client)
	if _, err := topic.Ensure(t.Context(), adm, false); err != nil {
		t.Fatal(err)
	}
	made, err := adm.CreateTopics(t.Context(), 4, -1, nil, others...)
	if err != nil || made.Error() != nil {
		t.Fatal(err, made.Error())
	}
	// A node may not know of a topic yet that another has made.
	for range 100 {
		if found, err := adm.ListTopics(t.Context(), others...); err == nil && found.Error() == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Cleanup(func() { _, _ = adm.DeleteTopics(context.WithoutCancel(t.Context()), others...) })
	return w
}

// seen waits for n events of a sensor and returns them by identity, each with its
// record's key.
func (w *world) seen(of, sensor string, n int, id func(*event.Event) string) map[string][]string {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(of), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	got, count := map[string][]string{}, 0
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		wait := 1500 * time.Millisecond
		if count < n {
			wait = 5 * time.Second
		}
		ctx, cancel := context.WithTimeout(w.t.Context(), wait)
		fetches := cl.PollFetches(ctx)
		cancel()
		fetches.EachRecord(func(r *kgo.Record) {
			var e event.Event
			if event.Decode(r.Value, &e) != nil || e.Observer.Name != sensor {
				return
			}
			count++
			name := strings.Clone(id(&e))
			got[name] = append(got[name], string(r.Key))
		})
		if count >= n && fetches.NumRecords() == 0 {
			break
		}
	}
	return got
}

// TestRsyslog: rsyslog follows a log of Zeek and takes Falco's alerts by syslog,
// and hands both to topics with omkafka. Each record arrives once, under the key
// of its address or host, also when the readers are ended in between.
func TestRsyslog(t *testing.T) {
	t.Parallel()
	zeekTopic, falcoTopic := fmt.Sprintf("rsyslog-zeek-%d", os.Getpid()), fmt.Sprintf("rsyslog-falco-%d", os.Getpid())
	w := upstreamWorld(t, zeekTopic, falcoTopic)
	dir := t.TempDir()
	log := filepath.Join(dir, "conn.log")
	conn := func(i int) string {
		return fmt.Sprintf(`{"ts":%d.25,"uid":"C%d","id.orig_h":"10.0.%d.%d","id.orig_p":40000,"id.resp_h":"203.0.113.9","id.resp_p":443,"proto":"tcp","duration":2.5,"orig_bytes":%d,"resp_bytes":100,`+
			`"conn_state":"SF","history":"ShADadFf","orig_pkts":9,"orig_ip_bytes":%d,"resp_pkts":5,"resp_ip_bytes":400}`+"\n", 1_767_600_000+i, i, i/250, i%250+1, 1000+i, 1400+i)
	}
	const n = 500
	var first, second bytes.Buffer
	for i := range n {
		if i < n/2 {
			first.WriteString(conn(i))
		} else {
			second.WriteString(conn(i))
		}
	}
	if err := os.WriteFile(log, first.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	conf := filepath.Join(dir, "r.conf")
	if err := os.WriteFile(conf, []byte(rsyslogConf(dir, log, w.brokers[0], zeekTopic, falcoTopic, port)), 0o600); err != nil {
		t.Fatal(err)
	}
	rsyslog(t, conf, dir, port)

	zeek, falco := ingest.Default(), ingest.Default()
	zeek.Topics.Read, falco.Topics.Read = []string{zeekTopic}, []string{falcoTopic}
	stopZeek, stopFalco := w.start("ingest-zeek", zeek), w.start("ingest-falco", falco)
	alerts := func(from, to int) {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		for i := from; i < to; i++ {
			// As Falco's syslog_output: the document is the message. rsyslog gives
			// the record the time of the line: an old one would be retention's.
			if _, err := fmt.Fprintf(c, "<13>%s node-%d falco[77]: %s\n", time.Now().Format(time.Stamp), i%3, alertOf(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	alerts(0, 60)
	uid := func(e *event.Event) string { return e.ID }
	file := func(e *event.Event) string { return e.File.Path }
	w.seen(topic.Network, zeekTopic, n/2, uid)
	w.seen(topic.Host, falcoTopic, 60, file)
	for _, stop := range []func() error{stopZeek, stopFalco} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(second.Bytes()); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	alerts(60, 100)
	stopZeek, stopFalco = w.start("ingest-zeek", zeek), w.start("ingest-falco", falco)
	want, wantAlerts := map[string][]string{}, map[string][]string{}
	for i := range n {
		want[fmt.Sprint("C", i)] = []string{fmt.Sprintf("default|10.0.%d.%d", i/250, i%250+1)}
	}
	for i := range 100 {
		wantAlerts[fmt.Sprintf("/run/secrets/s%d", i)] = []string{fmt.Sprintf("default|node-%d", i%3)}
	}
	if d := cmp.Diff(want, w.seen(topic.Network, zeekTopic, n, uid)); d != "" {
		t.Errorf("zeek through rsyslog (-want +got)\n%s", d)
	}
	if d := cmp.Diff(wantAlerts, w.seen(topic.Host, falcoTopic, 100, file)); d != "" {
		t.Errorf("falco through rsyslog (-want +got)\n%s", d)
	}
	for _, stop := range []func() error{stopZeek, stopFalco} {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}

// rsyslogConf follows a file and listens, and writes what comes to topics. The
// templates are those of docs/howto/rsyslog.md.
func rsyslogConf(dir, log, broker, zeekTopic, falcoTopic string, port int) string {
	return strings.NewReplacer("DIR", dir, "LOG", log, "BROKER", broker, "ZEEK", zeekTopic, "FALCO", falcoTopic, "PORT", fmt.Sprint(port)).Replace(`
global(workDirectory="DIR" maxMessageSize="256k")
module(load="imfile" PollingInterval="1") module(load="imtcp") module(load="omkafka")
template(name="line" type="string" string="%msg%")
input(type="imfile" File="LOG" Tag="zeek" ruleset="zeek")
input(type="imtcp" port="PORT" address="127.0.0.1" ruleset="falco")
ruleset(name="zeek") { action(type="omkafka" broker=["BROKER"] topic="ZEEK" template="line" confParam=["compression.codec=lz4", "acks=all"]) }
ruleset(name="falco") { action(type="omkafka" broker=["BROKER"] topic="FALCO" template="line" confParam=["compression.codec=lz4", "acks=all"]) }
`)
}

// rsyslog runs it until the test ends.
func rsyslog(t *testing.T, conf, dir string, port int) {
	t.Helper()
	out, err := os.Create(filepath.Join(dir, "rsyslog.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "rsyslogd", "-n", "-f", conf, "-i", filepath.Join(dir, "r.pid"))
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			said, _ := os.ReadFile(out.Name())
			t.Logf("rsyslog: %s", said)
		}
		_ = out.Close()
	})
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("rsyslogd does not listen: %v", err)
		}
	}
}

// alertOf is an alert of the rule that reports secrets which are read.
func alertOf(i int) string {
	return fmt.Sprintf(`{"hostname":"node-%d","output":"10:00:00.000000000: Notice secret read","priority":"Notice","rule":"Ebbwatch secret read","source":"syscall","tags":["T1552","mitre_credential_access"],`+
		`"time":"2026-01-05T10:%02d:%02d.000000001Z","output_fields":{"evt.time":%d,"evt.type":"openat","fd.name":"/run/secrets/s%d","fd.type":"file","proc.cmdline":"cat s%d","proc.name":"cat","user.name":"root"}}`,
		i%3, i/60%60, i%60, 1_767_607_200_000_000_001+int64(i)*1_000_000_000, i, i)
}

// TestFalcosidekick: what its Kafka output writes, by librdkafka as it does by its
// own client: no key, no header, no acknowledgement, no compression, one document
// a record, an id made anew for each delivery. A repetition of an alert is
// another record; detection tells them by their identity.
func TestFalcosidekick(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("sidekick-%d", os.Getpid())
	w := upstreamWorld(t, name)
	cfg := ingest.Default()
	cfg.Topics.Read = []string{name}
	stop := w.start("ingest-falco", cfg)
	var payloads strings.Builder
	want := map[string][]string{}
	for i := range 200 {
		// uuid in front, no message; source as it names an empty one; zeros at
		// the end of times are gone.
		alert := strings.NewReplacer(`{"hostname"`, fmt.Sprintf(`{"uuid":"00000000-0000-4000-8000-%012d","hostname"`, i), `"source":"syscall"`, `"source":"syscalls"`, `.000000001Z`, `.5Z`).Replace(alertOf(i))
		payloads.WriteString(alert + "\n")
		want[fmt.Sprintf("/run/secrets/s%d", i)] = []string{fmt.Sprintf("default|node-%d", i%3)}
	}
	payloads.WriteString(`{"uuid":"x","output":"test","priority":"Debug","rule":"Test rule","source":"internal","time":"2026-01-05T10:00:00Z","output_fields":{"proc.name":"falcosidekick"},"hostname":"node-1"}` + "\n")
	cmd := exec.CommandContext(t.Context(), "kcat", "-q", "-P", "-b", w.brokers[0], "-t", name, "-X", "acks=0", "-X", "sticky.partitioning.linger.ms=0", "-X", "compression.codec=none")
	cmd.Stdin = strings.NewReader(payloads.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("kcat: %v\n%s", err, out)
	}
	got := w.seen(topic.Host, name, 200, func(e *event.Event) string { return e.File.Path })
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	partitions := map[int32]bool{}
	for _, r := range w.raw(name) {
		partitions[r.Partition] = true
		if len(r.Key) > 0 || len(r.Headers) > 0 {
			t.Fatal("the upstream has keys: it is not falcosidekick's")
		}
	}
	if len(partitions) < 2 {
		t.Errorf("the upstream wrote to %d partitions: nothing was re-keyed", len(partitions))
	}
}

// raw is what stands on a topic.
func (w *world) raw(name string) []*kgo.Record {
	w.t.Helper()
	all := w.got(name, 201)
	slices.SortFunc(all, func(a, b *kgo.Record) int { return int(a.Partition - b.Partition) })
	return all
}
