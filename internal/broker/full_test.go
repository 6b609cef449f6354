//go:build linux

package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/internal/broker"
	"github.com/ebbwatch/ebbwatch/internal/topic"
	"github.com/twmb/franz-go/pkg/kgo"
)

// smallDisk mounts a file system of a few megabytes, or skips.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no file system of its own can be mounted (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestDiskFull: with the disk full the broker ends with a clear error and takes
// nothing that it cannot keep; with space again it holds all that it had
// acknowledged, and goes on.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, "6m")
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	var out logBuffer
	start := func() (*broker.Broker, func() error) {
		b, err := broker.New(broker.Config{Folder: filepath.Join(disk, "data"), Topics: []topic.Topic{{Name: "t", Partitions: 1, Embedded: 1}}}, slog.New(slog.NewTextHandler(&out, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- b.Run(ctx) }()
		select {
		case <-b.Ready():
		case err := <-ended:
			t.Fatal(err)
		}
		return b, func() error { cancel(); return <-ended }
	}
	b, stop := start()
	acked := fill(t, b.Addr())
	if acked < 100 {
		t.Fatalf("only %d records fit", acked)
	}
	err := stop()
	if !errors.Is(err, syscall.ENOSPC) && !strings.Contains(fmt.Sprint(err), "disk full") {
		t.Errorf("the broker ended with %v\n%s", err, out.String())
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	b, stop = start()
	read := readNumbers(t, b.Addr(), acked)
	for i := range acked {
		if i >= len(read) || !strings.HasPrefix(read[i], fmt.Sprintf("%06d ", i)) {
			t.Errorf("record %d is not there, or not the %dth", i, i)
			break
		}
	}
	cl, cerr := kgo.NewClient(kgo.SeedBrokers(b.Addr()))
	if cerr != nil {
		t.Fatal(cerr)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("after")}).FirstErr(); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// fill produces numbered records one by one until the broker takes no more, and
// returns how many it has acknowledged.
func fill(t *testing.T, addr string) int {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordRetries(1), kgo.UnknownTopicRetries(1),
		kgo.RecordDeliveryTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	pad := strings.Repeat("x", 16<<10)
	for i := range 2000 {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: fmt.Appendf(nil, "%06d %s", i, pad)}).FirstErr()
		cancel()
		if err != nil {
			t.Logf("record %d: %v", i, err)
			return i
		}
	}
	t.Fatal("the disk is never full")
	return 0
}

func readNumbers(t *testing.T, addr string, n int) (out []string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for len(out) < n && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { out = append(out, string(r.Value)) })
	}
	return out
}
