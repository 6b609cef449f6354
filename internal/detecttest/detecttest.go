// Package detecttest runs detectors over recordings as a live system would
// have: records in order of availability, marks between them, a closing mark
// at the end.
package detecttest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

const second = int64(1_000_000)

// Lab returns the path of a folder of the lab's recordings, which lie beside
// the repository, and skips the test where there are none. up is the way from
// the test's package to the repository's root, as "../../..".
func Lab(tb testing.TB, up string, parts ...string) string {
	tb.Helper()
	path := filepath.Join(append([]string{filepath.FromSlash(up), "..", "shared", "data", "lab"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		tb.Skip("the lab's recordings are not beside the repository")
	}
	return path
}

// Record is one encoded event with what the log says of it.
type Record struct {
	Kind      event.Kind
	Observer  event.Observer
	Time      int64
	Available int64
	Key       []byte
	Value     []byte
}

// Recording is a list of records in order of availability.
type Recording []Record

// collector completes events as ingest does.
type collector struct {
	tb    testing.TB
	site  *site.Site
	name  string
	place site.Placement
	avail int64
	out   Recording
	edit  func(*event.Event)
}

func (c *collector) Event(e *event.Event) {
	e.Observer.Name, e.Observer.Realm = c.name, site.DefaultRealm
	if c.edit != nil {
		c.edit(e)
	}
	c.site.Place(e, &c.place)
	at := max(e.Time, e.End)
	if e.Kind == event.KindDNS {
		at += int64(e.DNS.RTT.Or(0))
	}
	c.avail = max(c.avail, at)
	value, err := e.Append(nil)
	if err != nil {
		c.tb.Fatalf("encode: %v", err)
	}
	o := event.Observer{Type: strings.Clone(e.Observer.Type), Name: c.name, Realm: site.DefaultRealm}
	c.out = append(c.out, Record{e.Kind, o, e.Time, c.avail, bytes.Clone(c.place.Key), value})
}

func (c *collector) Ignored(string) {}

func (c *collector) Dead(reason string, _ []byte, at event.Origin) {
	c.tb.Errorf("%s line %d: dead: %s", at.Name, at.Line.Or(0), reason)
}

var _ decode.Sink = (*collector)(nil)

// Events encodes events as a source of the given name.
func Events(tb testing.TB, st *site.Site, name string, events []event.Event) Recording {
	tb.Helper()
	c := &collector{tb: tb, site: st, name: name}
	for i := range events {
		c.Event(&events[i])
	}
	return c.out
}

// Zeek decodes all logs of a folder. edit changes events before they are
// placed; it may be nil.
func Zeek(tb testing.TB, st *site.Site, dir string, edit func(*event.Event)) Recording {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.log*"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no logs in %s: %v", dir, err)
	}
	var parts []Recording
	for _, path := range paths {
		c := &collector{tb: tb, site: st, name: "lab", edit: edit}
		d := zeek.New(zeek.Options{Path: filepath.Base(path)})
		n := uint64(0)
		for line := range bytes.Lines(unpacked(tb, path)) {
			n++
			d.Line(bytes.TrimRight(line, "\n"), event.Origin{Name: filepath.Base(path), Line: event.N(n)}, c)
		}
		parts = append(parts, c.out)
	}
	return Merge(parts...)
}

// Packets decodes the capture of a folder.
func Packets(tb testing.TB, st *site.Site, dir string, edit func(*event.Event)) Recording {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.pcap*"))
	if err != nil || len(paths) != 1 {
		tb.Fatalf("not one capture in %s: %v", dir, err)
	}
	c := &collector{tb: tb, site: st, name: "tap", edit: edit}
	r := packet.NewReader(bytes.NewReader(unpacked(tb, paths[0])), filepath.Base(paths[0]), packet.NewTracker(packet.Config{}))
	if err := r.ReadAll(c); err != nil {
		tb.Fatal(err)
	}
	return c.out
}

func unpacked(tb testing.TB, path string) []byte {
	tb.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if !strings.HasSuffix(path, ".gz") {
		return data
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	if data, err = io.ReadAll(z); err != nil {
		tb.Fatal(err)
	}
	return data
}

// Merge puts recordings together in order of availability.
func Merge(parts ...Recording) Recording {
	out := slices.Concat(parts...)
	slices.SortStableFunc(out, func(a, b Record) int { return cmp.Compare(a.Available, b.Available) })
	return out
}

// Context is an operator.Context that keeps signals and counts.
type Context struct {
	TB      testing.TB
	Signals []signal.Signal
	Counts  map[string]int64
	Touched map[int]bool
	Quiet   bool // signals are not decoded
}

// NewContext returns an empty context.
func NewContext(tb testing.TB) *Context {
	return &Context{TB: tb, Counts: map[string]int64{}, Touched: map[int]bool{}}
}

// Emit implements operator.Context.
func (c *Context) Emit(out operator.Output) {
	if out.Kind != signal.KindSignal || c.Quiet {
		return
	}
	var s signal.Signal
	if err := signal.Decode(out.Value, &s); err != nil {
		c.TB.Errorf("signal: %v", err)
	}
	c.Signals = append(c.Signals, s)
}

// Touch implements operator.Context.
func (c *Context) Touch(bucket int) { c.Touched[bucket] = true }

// Count implements operator.Context.
func (c *Context) Count(name, label string, n int64) { c.Counts[name+"/"+label] += n }

// Final returns the last revision of each signal, in order of first emission.
func (c *Context) Final() (out []signal.Signal) {
	at := map[string]int{}
	for _, s := range c.Signals {
		if i, ok := at[s.ID]; ok {
			out[i] = s
			continue
		}
		at[s.ID] = len(out)
		out = append(out, s)
	}
	return out
}

// Player feeds a recording to an operator.
type Player struct {
	Set     operator.Operator
	Context *Context
	Offset  int64
	// Cut, when set, is called after each record.
	Cut func(p *Player)
	// Scribble overwrites each record after it was applied: nothing that the
	// operator keeps may alias it.
	Scribble bool
	// NoMarks leaves out the marks between records.
	NoMarks bool

	now, marked int64
	streams     []event.SourceMark
}

// NewPlayer makes a set of detectors with a site file.
func NewPlayer(tb testing.TB, siteFile []byte, detectors ...detect.Detector) *Player {
	tb.Helper()
	set, err := detect.NewSet(detect.Config{}, detectors)
	if err != nil {
		tb.Fatal(err)
	}
	if err := set.Epoch(detect.EpochSite, siteFile); err != nil {
		tb.Fatal(err)
	}
	return &Player{Set: set, Context: NewContext(tb)}
}

// Play feeds a recording and closes its sources.
func (p *Player) Play(rec Recording) *Player {
	p.Feed(rec)
	p.Mark(true)
	return p
}

// Feed feeds a recording with a mark every five seconds.
func (p *Player) Feed(rec Recording) {
	for i := range rec {
		r := &rec[i]
		p.now = max(p.now, r.Available)
		p.note(r)
		if !p.NoMarks && p.now >= p.marked+5*second {
			p.marked = p.now
			p.Mark(false)
		}
		key, value := r.Key, r.Value
		if p.Scribble {
			key, value = bytes.Clone(key), bytes.Clone(value)
		}
		p.apply(operator.Record{Kind: r.Kind.String(), Key: key, Value: value})
		if p.Scribble {
			for _, b := range [][]byte{key, value} {
				for i := range b {
					b[i] = '#'
				}
			}
		}
		if p.Cut != nil {
			p.Cut(p)
		}
	}
}

func (p *Player) note(r *Record) {
	id := event.SourceMark{Type: r.Observer.Type, Name: r.Observer.Name, Realm: r.Observer.Realm, Stream: r.Kind.String()}
	for i := range p.streams {
		s := &p.streams[i]
		if s.Type == id.Type && s.Name == id.Name && s.Realm == id.Realm && s.Stream == id.Stream {
			s.Records++
			return
		}
	}
	id.Records = 1
	p.streams = append(p.streams, id)
}

// Mark tells how far all streams are.
func (p *Player) Mark(closing bool) {
	m := event.Mark{Instance: "player", Full: true, Closing: closing}
	for _, s := range p.streams {
		s.Low, s.Promise = p.now, true
		if s.Stream == event.KindDNS.String() {
			s.Low -= 15 * second
		}
		m.Sources = append(m.Sources, s)
	}
	data, err := m.Append(nil)
	if err != nil {
		p.Context.TB.Fatal(err)
	}
	p.apply(operator.Record{Kind: event.KindMark.String(), Key: []byte("mark"), Value: data})
}

func (p *Player) apply(r operator.Record) {
	r.Topic, r.Offset, r.Time = "ebb.network.v1", p.Offset, p.now
	p.Offset++
	if err := p.Set.Apply(&r, p.Context); err != nil {
		p.Context.TB.Fatalf("offset %d: %v", r.Offset, err)
	}
}

// Reload replaces the set by a new one that was loaded from its snapshot.
func (p *Player) Reload(siteFile []byte, detectors ...detect.Detector) {
	next := NewPlayer(p.Context.TB, siteFile, detectors...).Set
	for b := range p.Set.Buckets() {
		if err := next.LoadBucket(b, p.Set.AppendBucket(nil, b)); err != nil {
			p.Context.TB.Fatal(err)
		}
	}
	if err := next.LoadShared(p.Set.AppendShared(nil)); err != nil {
		p.Context.TB.Fatal(err)
	}
	p.Set = next
}
