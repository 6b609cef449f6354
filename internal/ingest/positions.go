package ingest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/segmentio/encoding/json"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ebbwatch/ebbwatch/internal/ingest/tail"
	"github.com/ebbwatch/ebbwatch/internal/stream"
	"github.com/ebbwatch/ebbwatch/internal/topic"
)

// kindPosition is the kind of the records of ebb.positions.v1, and
// positionVersion their "v".
const (
	kindPosition    = "position"
	positionVersion = 1
)

// stored is one record of ebb.positions.v1. Its key is
// SERVICE/INSTANCE/WHAT: "file/SOURCE/KEY" has File, "streams/SENSOR" has
// Streams ("streams" those of all sensors, of an earlier release), "ends" has
// the Ends of the service's first topic, "ends/TOPIC" those of another.
//
// Of several records of one key the one with the highest At holds, whatever
// its offset: the embedded broker compacts nothing, and what is rewritten
// there (compact) may land behind a newer one.
type stored struct {
	V  int   `json:"v"`
	At int64 `json:"at"` // microseconds
	// Source names the source of the file.
	Source  string          `json:"source,omitempty"`
	File    json.RawMessage `json:"file,omitempty"`
	Streams json.RawMessage `json:"streams,omitempty"`
	// Ends are the ends of the partitions of a topic as the transaction began.
	Ends map[int32]int64 `json:"ends,omitempty"`
}

// book reads and writes the positions of one instance of a service.
type book struct {
	producer *stream.Producer
	prefix   string
	buf, raw []byte
	written  int // records since the last compaction
}

// load reads all positions of the instance.
func (b *book) load(ctx context.Context) (files []stored, streams []json.RawMessage, ends map[string]map[int32]int64, err error) {
	ends = map[string]map[int32]int64{}
	latest := map[string]stored{}
	err = b.producer.ReadAll(ctx, topic.Positions, func(r *kgo.Record) error {
		what, ours := strings.CutPrefix(string(r.Key), b.prefix)
		if r.Attrs.IsControl() || !ours {
			return nil
		}
		b.written++
		if len(r.Value) == 0 {
			delete(latest, what)
			return nil
		}
		var s stored
		if err := json.Unmarshal(r.Value, &s); err != nil || s.V != positionVersion {
			return fmt.Errorf("position %s at offset %d of partition %d: version %d: %w", r.Key, r.Offset, r.Partition, s.V, err)
		}
		if s.At >= latest[what].At {
			s.File, s.Streams = bytes.Clone(s.File), bytes.Clone(s.Streams)
			latest[what] = s
		}
		return nil
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read positions: %w", err)
	}
	for _, what := range slices.Sorted(maps.Keys(latest)) {
		s := latest[what]
		switch {
		case s.File != nil:
			files = append(files, s)
		case s.Streams != nil:
			streams = append(streams, s.Streams)
		case s.Ends != nil:
			ends[what] = s.Ends
		}
	}
	return files, streams, ends, nil
}

func (b *book) put(ctx context.Context, what string, s stored) error {
	s.V = positionVersion
	value, err := json.Append(b.buf[:0], s, 0)
	if err != nil {
		return fmt.Errorf("position: %w", err)
	}
	b.buf = value
	b.write(ctx, what, value)
	return nil
}

func (b *book) write(ctx context.Context, what string, value []byte) {
	b.written++
	b.producer.Produce(ctx, stream.Record{
		Topic: topic.Positions, Partition: stream.ByKey, Kind: kindPosition, V: positionVersion, Key: []byte(b.prefix + what), Value: value,
	})
}

// endsKey is where the ends of the i-th topic of the service stand.
func endsKey(i int, name string) string {
	if i == 0 {
		return "ends"
	}
	return "ends/" + name
}

func fileKey(source, key string) string { return "file/" + source + "/" + key }

// file writes the position of a file.
func (b *book) file(ctx context.Context, source string, p tail.Position, now int64) error {
	raw, err := p.Append(b.raw[:0])
	if err != nil {
		return fmt.Errorf("position of %s: %w", p.Name, err)
	}
	b.raw = raw
	return b.put(ctx, fileKey(source, p.Key), stored{At: now, Source: source, File: raw})
}

// forget deletes the position of a file.
func (b *book) forget(ctx context.Context, source, key string) {
	b.write(ctx, fileKey(source, key), nil)
}

// compactAfter is how many records of positions an instance writes on the
// embedded broker before it makes room.
const compactAfter = 50_000

// compact rewrites what holds of all positions, of all services, and deletes
// what lies before: the embedded broker compacts nothing. It is called between
// two transactions.
func (b *book) compact(ctx context.Context) error {
	ends, err := b.producer.Ends(ctx, topic.Positions)
	if err != nil {
		return err
	}
	type record struct {
		at    int64
		value []byte
	}
	latest := map[string]record{}
	err = b.producer.ReadAll(ctx, topic.Positions, func(r *kgo.Record) error {
		if r.Attrs.IsControl() {
			return nil
		}
		if len(r.Value) == 0 {
			delete(latest, string(r.Key))
			return nil
		}
		var s struct {
			At int64 `json:"at"`
		}
		if err := json.Unmarshal(r.Value, &s); err != nil {
			return fmt.Errorf("position %s: %w", r.Key, err)
		}
		if s.At >= latest[string(r.Key)].at {
			latest[string(r.Key)] = record{s.At, bytes.Clone(r.Value)}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read positions: %w", err)
	}
	b.written = 0
	if len(latest) == 0 {
		return nil // the last record of a log must stay
	}
	if err := b.producer.Begin(); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(latest)) {
		b.producer.Produce(ctx, stream.Record{
			Topic: topic.Positions, Partition: stream.ByKey, Kind: kindPosition, V: positionVersion, Key: []byte(key), Value: latest[key].value,
		})
	}
	if err := b.producer.Commit(ctx); err != nil {
		return err
	}
	return b.producer.Trim(ctx, topic.Positions, ends)
}

// published holds what a half-done commit of the embedded broker has
// published beyond the positions (internal/stream, "half-done commits"): it is
// read again and must not be written again.
type published map[uint64]int

func recordHash(key, value []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(key)
	_, _ = d.Write([]byte{0})
	_, _ = d.Write(value)
	return d.Sum64()
}

// findPublished reads the end of a topic into found.
func (b *book) findPublished(ctx context.Context, name string, ends map[int32]int64, found published) error {
	err := b.producer.ReadFrom(ctx, name, ends, func(r *kgo.Record) error {
		if !r.Attrs.IsControl() {
			found[recordHash(r.Key, r.Value)]++
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the end of %s: %w", name, err)
	}
	return nil
}

// take reports whether a record was published already.
func (p published) take(key, value []byte) bool {
	if len(p) == 0 {
		return false
	}
	h := recordHash(key, value)
	n := p[h]
	if n == 0 {
		return false
	}
	if p[h] = n - 1; n == 1 {
		delete(p, h)
	}
	return true
}
