package ingest_test

import (
	"path/filepath"
	"testing"
	"time"
)

// A log of 200,000 connections from the file to committed events, on a broker
// in the same process that shares the processors.
func BenchmarkOnce(b *testing.B) {
	const lines = 200_000
	dir := b.TempDir()
	content := many(conn, 0, lines)
	put(b, filepath.Join(dir, "conn.log"), content)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		w := newWorld(b)
		cfg := once(dir)
		cfg.CommitInterval, cfg.MarkInterval = 200*time.Millisecond, time.Second
		if err := w.start("ingest-zeek", cfg, false).wait(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(lines*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
