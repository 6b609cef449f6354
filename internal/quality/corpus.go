package quality

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
)

const (
	second = int64(1_000_000)
	hour   = 3600 * second
	day    = 24 * hour
)

// The labels of a capture.
const (
	Malicious = "malicious"
	Benign    = "benign"
)

// Source is where the events of a capture come from.
type Source string

// The sources.
const (
	Zeek    Source = "zeek"    // the logs of stock Zeek
	Packets Source = "packets" // the pcap
	Flow    Source = "flow"    // VPC flow logs, made from the connections
)

// Item is one event in its encoded form, before it was placed.
type Item struct {
	Kind      event.Kind
	Available int64 // when a live system would have had it, microseconds
	Value     []byte
}

// Recording is what one source tells, in order of availability.
type Recording []Item

// Capture is one recording of the lab.
type Capture struct {
	Name, Tool, Settings, RecordType string
	Label, Expected                  string
	Payload                          float64 // bytes of user data that were moved
	Seconds                          float64

	dir    string
	mu     sync.Mutex
	cached map[Source]Recording
	client netip.Addr
	start  int64
}

// Malicious reports whether the capture must be found. A breach of policy
// (DoH) must be found as well.
func (c *Capture) Malicious() bool { return c.Label == Malicious || c.Label == "policy" }

// Corpus is the committed set of captures.
type Corpus struct {
	// Site is the lab's site file.
	Site     []byte
	Captures []*Capture
}

// Open reads the manifest of a folder of captures.
func Open(dir string) (*Corpus, error) {
	data, err := os.ReadFile(filepath.Join(dir, "MANIFEST.tsv"))
	if err != nil {
		return nil, err
	}
	c := &Corpus{}
	if c.Site, err = os.ReadFile(filepath.Join(dir, "site.yaml")); err != nil {
		return nil, err
	}
	for i, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 {
			continue
		}
		if len(f) < 12 {
			return nil, fmt.Errorf("MANIFEST.tsv line %d: %d columns", i+1, len(f))
		}
		payload, err1 := strconv.ParseFloat(f[7], 64)
		seconds, err2 := strconv.ParseFloat(f[8], 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("MANIFEST.tsv line %d: payload %q, duration %q", i+1, f[7], f[8])
		}
		name := strings.TrimSuffix(f[0], ".pcap")
		c.Captures = append(c.Captures, &Capture{
			Name: name, Tool: f[1], Settings: f[2], RecordType: f[3], Label: f[5], Expected: f[6],
			Payload: payload, Seconds: seconds, dir: filepath.Join(dir, name), cached: map[Source]Recording{},
		})
	}
	return c, nil
}

// Of returns the captures with a label.
func (c *Corpus) Of(keep func(*Capture) bool) (out []*Capture) {
	for _, x := range c.Captures {
		if keep(x) {
			out = append(out, x)
		}
	}
	return out
}

// Named returns one capture, nil if there is none.
func (c *Corpus) Named(name string) *Capture {
	for _, x := range c.Captures {
		if x.Name == name {
			return x
		}
	}
	return nil
}

// Recording decodes what a source tells of the capture, once.
func (c *Capture) Recording(s Source) (Recording, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recording(s)
}

func (c *Capture) recording(s Source) (Recording, error) {
	if r, ok := c.cached[s]; ok {
		return r, nil
	}
	var r Recording
	var err error
	switch s {
	case Zeek:
		r, err = readZeek(c.dir)
	case Packets:
		r, err = readPackets(c.dir)
	case Flow:
		// Flow logs know what packets know: Zeek's connections hold the same.
		if r, err = c.recording(Zeek); err == nil {
			r, err = flowLog(r)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", c.Name, s, err)
	}
	c.cached[s] = r
	return r, nil
}

// Client returns the address whose traffic the capture shows, and when it
// begins.
func (c *Capture) Client() (netip.Addr, int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.start != 0 {
		return c.client, c.start, nil
	}
	rec, err := c.recording(Zeek)
	if err != nil {
		return c.client, 0, err
	}
	asked := map[netip.Addr]int{}
	var e event.Event
	for i := range rec {
		if err := event.Decode(rec[i].Value, &e); err != nil {
			return c.client, 0, err
		}
		if at := begins(&e); c.start == 0 || at < c.start {
			c.start = at
		}
		if e.Source.IP.IsValid() {
			asked[e.Source.IP]++
		}
	}
	most := 0
	for a, n := range asked {
		if n > most || n == most && a.Less(c.client) {
			c.client, most = a, n
		}
	}
	return c.client, c.start, nil
}

// begins is when what an event tells of began.
func begins(e *event.Event) int64 {
	if e.Start != 0 && e.Start < e.Time {
		return e.Start
	}
	return e.Time
}

// sink keeps encoded events in order of availability.
type sink struct {
	name  string
	avail int64
	out   Recording
	dead  string
	err   error
}

var _ decode.Sink = (*sink)(nil)

// Event keeps one event.
func (s *sink) Event(e *event.Event) {
	e.Observer.Name = s.name
	s.avail = max(s.avail, pipeline.Available(e))
	value, err := e.Append(nil)
	if err != nil {
		s.err = err
		return
	}
	s.out = append(s.out, Item{Kind: e.Kind, Available: s.avail, Value: value})
}

// Ignored does nothing.
func (s *sink) Ignored(string) {}

// Dead remembers the reason.
func (s *sink) Dead(reason string, _ []byte, at event.Origin) {
	s.dead = fmt.Sprintf("%s line %d: %s", at.Name, at.Line.Or(0), reason)
}

func (s *sink) result() (Recording, error) {
	switch {
	case s.err != nil:
		return nil, s.err
	case s.dead != "":
		return nil, fmt.Errorf("dead record: %s", s.dead)
	}
	return s.out, nil
}

func readZeek(dir string) (Recording, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.log.gz"))
	if err != nil {
		return nil, err
	}
	var parts []Recording
	for _, path := range paths {
		data, err := unpacked(path)
		if err != nil {
			return nil, err
		}
		r, err := zeekLog(filepath.Base(path), data)
		if err != nil {
			return nil, err
		}
		parts = append(parts, r)
	}
	return merged(parts...), nil
}

// zeekLog decodes one log of Zeek.
func zeekLog(name string, data []byte) (Recording, error) {
	s := &sink{name: "lab"}
	d := zeek.New(zeek.Options{Path: name})
	n := uint64(0)
	for line := range bytes.Lines(data) {
		n++
		d.Line(bytes.TrimRight(line, "\n"), event.Origin{Name: name, Line: event.N(n)}, s)
	}
	return s.result()
}

func readPackets(dir string) (Recording, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.pcap.gz"))
	if err != nil {
		return nil, err
	}
	if len(paths) != 1 {
		return nil, fmt.Errorf("%d captures in %s", len(paths), dir)
	}
	data, err := unpacked(paths[0])
	if err != nil {
		return nil, err
	}
	s := &sink{name: "tap"}
	r := packet.NewReader(bytes.NewReader(data), filepath.Base(paths[0]), packet.NewTracker(packet.Config{}))
	if err := r.ReadAll(s); err != nil {
		return nil, err
	}
	return s.result()
}

func unpacked(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(path, ".gz") {
		return data, err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return io.ReadAll(z)
}

// merged puts recordings together in order of availability.
func merged(parts ...Recording) Recording {
	out := slices.Concat(parts...)
	slices.SortStableFunc(out, func(a, b Item) int {
		switch {
		case a.Available < b.Available:
			return -1
		case a.Available > b.Available:
			return 1
		}
		return 0
	})
	return out
}
