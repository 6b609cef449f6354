package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start runs a broker until the test or the returned stop ends it.
func start(t *testing.T, cfg Config) (b *Broker, stop func()) {
	t.Helper()
	b, err := New(cfg, quiet())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	select {
	case <-b.Ready():
	case err := <-done:
		cancel()
		t.Fatalf("broker: %v", err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("broker: %v", err)
		}
	}
	t.Cleanup(stop)
	return b, stop
}

func client(t *testing.T, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addr())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func produce(t *testing.T, cl *kgo.Client, rs ...*kgo.Record) {
	t.Helper()
	if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestTopicsOfTheTableExist(t *testing.T) {
	t.Parallel()
	b, _ := start(t, Config{})
	details, err := kadm.NewClient(client(t, b)).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range topic.Table() {
		if got := len(details[row.Name].Partitions); got != int(row.Embedded) {
			t.Errorf("%s has %d partitions, not %d", row.Name, got, row.Embedded)
		}
	}
}

func TestFolderKeepsRecordsAndIsPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b, stop := start(t, Config{Folder: dir})
	produce(t, client(t, b), &kgo.Record{Topic: topic.Signals, Value: []byte("kept")})
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", info.Mode())
	}
	stop()

	b, _ = start(t, Config{Folder: dir})
	cl := client(t, b, kgo.ConsumeTopics(topic.Signals), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	fs := cl.PollFetches(t.Context())
	if fs.NumRecords() != 1 || string(fs.Records()[0].Value) != "kept" {
		t.Errorf("read %v, errors %v", fs.Records(), fs.Errors())
	}
}

// TestSecondProcessIsRefused runs this test binary again: flock is per open
// file, so a second broker in this process would prove less.
func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv("EBB_TEST_BROKER_FOLDER"); dir != "" {
		b, err := New(Config{Folder: dir}, quiet())
		if err != nil {
			t.Fatal(err)
		}
		err = b.Run(t.Context())
		fmt.Println("RESULT", err, errors.Is(err, ErrInUse))
		return
	}
	dir := t.TempDir()
	start(t, Config{Folder: dir})
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSecondProcessIsRefused$", "-test.v")
	cmd.Env = append(os.Environ(), "EBB_TEST_BROKER_FOLDER="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := fmt.Sprintf("RESULT data folder %s: in use by process %d true", dir, os.Getpid())
	if !strings.Contains(string(out), want) {
		t.Errorf("no %q in\n%s", want, out)
	}
}

func TestErrorsAreOneClearLine(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() }) // the subtests outlive this function
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "meta.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"port taken", Config{Listen: ln.Addr().String()}, "in use by another process"},
		{"folder is a file", Config{Folder: file}, "cannot be used: not a directory"},
		{"folder below a file", Config{Folder: filepath.Join(file, "x")}, "cannot be used: not a directory"},
		{"foreign address", Config{Listen: "192.0.2.1:9092", AllowRemote: true}, "listen on 192.0.2.1:9092: "},
		{"broken folder", Config{Folder: broken}, "broker data in " + broken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b, err := New(tc.cfg, quiet())
			if err != nil {
				t.Fatal(err)
			}
			err = b.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q", err)
			}
		})
	}
}

func TestLoopbackUnlessAllowed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cfg Config
		ok  bool
	}{
		{Config{}, true},
		{Config{Listen: "127.0.0.1:9092"}, true},
		{Config{Listen: "localhost:9092"}, true},
		{Config{Listen: "[::1]:9092"}, true},
		{Config{Listen: "[::ffff:127.0.0.1]:9092"}, true},
		{Config{Listen: ":9092"}, false},
		{Config{Listen: "0.0.0.0:9092"}, false},
		{Config{Listen: "10.0.0.1:9092"}, false},
		{Config{Listen: "example.org:9092"}, false},
		{Config{Listen: "9092"}, false},
		{Config{Listen: "127.0.0.1:http"}, false},
		{Config{Listen: "10.0.0.1:9092", AllowRemote: true}, true},
		{Config{Listen: ":9092", AllowRemote: true}, false}, // nobody could connect to what it advertises
		{Config{Listen: ":9092", AllowRemote: true, Advertise: "broker.example.org"}, true},
	} {
		if _, err := New(tc.cfg, quiet()); (err == nil) != tc.ok {
			t.Errorf("%+v: %v", tc.cfg, err)
		}
	}
}

func TestAdvertisedHostIsHandedOut(t *testing.T) {
	t.Parallel()
	b, _ := start(t, Config{Listen: "0.0.0.0:0", AllowRemote: true, Advertise: "localhost"})
	host, _, err := net.SplitHostPort(b.Addr())
	if err != nil || host != "localhost" {
		t.Errorf("address %q", b.Addr())
	}
	brokers, err := kadm.NewClient(client(t, b)).ListBrokers(t.Context())
	if err != nil || len(brokers) != 1 || brokers[0].Host != "localhost" {
		t.Errorf("brokers %v, error %v", brokers, err)
	}
}

func TestTrimKeepsTheYoungAndTheLastBatch(t *testing.T) {
	t.Parallel()
	b, _ := start(t, Config{})
	cl := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	adm := kadm.NewClient(cl)
	now := time.Now()
	old := now.Add(-8 * 24 * time.Hour)
	for i := range 10 {
		at := old
		if i >= 6 {
			at = now
		}
		produce(t, cl, &kgo.Record{Topic: topic.Network, Partition: 0, Timestamp: at, Value: []byte("x")})
		produce(t, cl, &kgo.Record{Topic: topic.Network, Partition: 1, Timestamp: old, Value: []byte("x")})
		produce(t, cl, &kgo.Record{Topic: topic.Alerts, Partition: 0, Timestamp: now.Add(-400 * 24 * time.Hour), Value: []byte("x")})
	}
	if _, err := b.trim(t.Context(), adm, now); err != nil {
		t.Fatal(err)
	}
	starts, err := adm.ListStartOffsets(t.Context(), topic.Network, topic.Alerts)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		topic string
		part  int32
		want  int64
	}{
		{topic.Network, 0, 6}, // the four young ones stay
		{topic.Network, 1, 9}, // all are old, the last stays
		{topic.Alerts, 0, 0},  // never trimmed by time
	} {
		if got, _ := starts.Lookup(tc.topic, tc.part); got.Offset != tc.want {
			t.Errorf("%s/%d starts at %d, not %d", tc.topic, tc.part, got.Offset, tc.want)
		}
	}
	if n, err := b.trim(t.Context(), adm, now); n != 0 || err != nil {
		t.Errorf("second trim: %d partitions, %v", n, err)
	}
}

// afterLists calls a function whenever an answer about offsets has come.
type afterLists func()

func (f afterLists) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, _ kgo.BrokerE2E) {
	if key == int16(kmsg.ListOffsets) {
		f()
	}
}

// TestTrimLosesNothingThatComesMeanwhile: records come between any two questions
// that trimming asks.
func TestTrimLosesNothingThatComesMeanwhile(t *testing.T) {
	t.Parallel()
	b, _ := start(t, Config{})
	cl := client(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	now := time.Now()
	for range 5 {
		produce(t, cl, &kgo.Record{Topic: topic.Network, Timestamp: now.Add(-8 * 24 * time.Hour), Value: []byte("old")})
	}
	came := 0
	asking := client(t, b, kgo.WithHooks(afterLists(func() {
		came++
		produce(t, cl, &kgo.Record{Topic: topic.Network, Timestamp: now, Value: []byte("young")})
	})))
	if _, err := b.trim(t.Context(), kadm.NewClient(asking), now); err != nil {
		t.Fatal(err)
	}
	starts, err := kadm.NewClient(cl).ListStartOffsets(t.Context(), topic.Network)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := starts.Lookup(topic.Network, 0); came < 4 || got.Offset == 0 || got.Offset > 5 {
		t.Errorf("%d records came, and the log starts at %d: want a part of the five old ones gone and none of the young", came, got.Offset)
	}
}

func TestKcatReadsAndWrites(t *testing.T) {
	t.Parallel()
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		t.Skip("kcat is not installed")
	}
	b, _ := start(t, Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	in := exec.CommandContext(ctx, kcat, "-b", b.Addr(), "-P", "-t", topic.Signals, "-k", "key")
	in.Stdin = strings.NewReader("one\ntwo\n")
	if out, err := in.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(ctx, kcat, "-b", b.Addr(), "-C", "-t", topic.Signals, "-e", "-q").CombinedOutput()
	if err != nil || string(out) != "one\ntwo\n" {
		t.Errorf("%v: %q", err, out)
	}
}
