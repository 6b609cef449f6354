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
	"github.com/ebbwatch/ebbwatch/pkg/decode/falco"
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

// Falco decodes a file of Falco's alerts, one a line. Lines that are none are
// passed over.
func Falco(tb testing.TB, st *site.Site, path string) Recording {
	tb.Helper()
	c := &collector{tb: tb, site: st, name: "falco"}
	d := falco.New()
	for line := range bytes.Lines(unpacked(tb, path)) {
		d.Line(bytes.TrimRight(line, "\n"), event.Origin{Name: filepath.Base(path)}, undead{c})
	}
	return c.out
}

// undead passes over what cannot be decoded.
type undead struct{ *collector }

// Dead does nothing.
func (undead) Dead(string, []byte, event.Origin) {}

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
	tb.Helper()
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

// Snapshot is the encoded state of a set.
type Snapshot struct {
	Buckets []string
	Shared  string
}

// Save encodes the state of the set.
func (p *Player) Save() (s Snapshot) {
	for b := range p.Set.Buckets() {
		s.Buckets = append(s.Buckets, string(p.Set.AppendBucket(nil, b)))
	}
	s.Shared = string(p.Set.AppendShared(nil))
	return s
}

// Load replaces the set by a new one with a saved state.
func (p *Player) Load(s Snapshot, siteFile []byte, detectors ...detect.Detector) {
	next := NewPlayer(p.Context.TB, siteFile, detectors...).Set
	for b, data := range s.Buckets {
		if err := next.LoadBucket(b, []byte(data)); err != nil {
			p.Context.TB.Fatal(err)
		}
	}
	if err := next.LoadShared([]byte(s.Shared)); err != nil {
		p.Context.TB.Fatal(err)
	}
	p.Set = next
}

// Reload replaces the set by one that was loaded from its snapshot.
func (p *Player) Reload(siteFile []byte, detectors ...detect.Detector) {
	p.Load(p.Save(), siteFile, detectors...)
}

// Interleave feeds a recording with its streams, one for each observer and
// kind, out of step: pick chooses among n streams which one goes on. None gets
// further ahead of the slowest than lead, in microseconds of availability.
// Marks come after every few records and are true: no event of a stream with
// an earlier time follows.
func (p *Player) Interleave(rec Recording, lead int64, pick func(n int) int) {
	type stream struct {
		mark event.SourceMark
		recs Recording
		low  []int64 // of the events from here on
	}
	var streams []*stream
	for i := range rec {
		r := &rec[i]
		id := event.SourceMark{Type: r.Observer.Type, Name: r.Observer.Name, Realm: r.Observer.Realm, Stream: r.Kind.String()}
		at := slices.IndexFunc(streams, func(s *stream) bool { return s.mark == id })
		if at < 0 {
			streams = append(streams, &stream{mark: id})
			at = len(streams) - 1
		}
		streams[at].recs = append(streams[at].recs, *r)
	}
	for _, s := range streams {
		s.low = make([]int64, len(s.recs)+1)
		s.low[len(s.recs)] = s.recs[len(s.recs)-1].Available + 3600*second
		for i := len(s.recs) - 1; i >= 0; i-- {
			s.low[i] = min(s.low[i+1], s.recs[i].Time)
		}
	}
	mark := func() {
		m := event.Mark{Instance: "player", Full: true}
		for _, s := range streams {
			s.mark.Low, s.mark.Promise = s.low[len(s.low)-1-len(s.recs)], true
			m.Sources = append(m.Sources, s.mark)
		}
		data, err := m.Append(nil)
		if err != nil {
			p.Context.TB.Fatal(err)
		}
		p.apply(operator.Record{Kind: event.KindMark.String(), Key: []byte("mark"), Value: data})
	}
	for n := 0; ; n++ {
		slowest := int64(1<<63 - 1)
		for _, s := range streams {
			if len(s.recs) > 0 {
				slowest = min(slowest, s.recs[0].Available)
			}
		}
		var able []*stream
		for _, s := range streams {
			if len(s.recs) > 0 && s.recs[0].Available <= slowest+lead {
				able = append(able, s)
			}
		}
		if len(able) == 0 {
			break
		}
		if n%50 == 0 {
			mark()
		}
		s := able[pick(len(able))]
		r := &s.recs[0]
		s.recs = s.recs[1:]
		s.mark.Records++
		p.now = max(p.now, r.Available)
		p.apply(operator.Record{Kind: r.Kind.String(), Key: r.Key, Value: r.Value})
	}
	mark()
	p.streams = p.streams[:0]
	for _, s := range streams {
		p.streams = append(p.streams, s.mark)
	}
	p.Mark(true)
}
