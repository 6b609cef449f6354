package bench

import (
	"math"
	"net/netip"
	"strconv"

	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// load makes the records of a site. The zero time is made up by the caller,
// everything else follows from the fields.
type load struct {
	sources int // different monitored addresses
	active  int // of which so many talk after the setup
	rate    int // records a second of event time
	start   int64

	site  *site.Site
	place site.Placement
	ev    event.Event
	buf   []byte
	names []string
}

// Spread of the made-up site.
const (
	observers    = 16     // VPCs that write flow logs
	peers        = 20_000 // external addresses that the site talks to
	peersASource = 8
	// largeOneIn is how rare a transfer of tens of megabytes is: there are
	// signals, and they are rare.
	largeOneIn = 200_000
	// setupSpan is the event time over which the setup's records lie.
	setupSpan = int64(600_000_000)
)

func newLoad(sources, active, rate int, start int64) *load {
	l := &load{sources: sources, active: active, rate: rate, start: start, site: site.Default()}
	for i := range observers {
		l.names = append(l.names, "vpc-"+strconv.FormatUint(mix(uint64(i))|1<<35, 16)[:8])
	}
	return l
}

// mix spreads a number over 64 bits (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit is a number of 64 bits as one in [0, 1).
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// setupRecords is how many records the setup has.
func (l *load) setupRecords() int64 { return 2 * int64(l.sources) }

// setup returns record i of the setup: each source out and back, once.
func (l *load) setup(i int64) (key, value []byte) {
	at := l.start - setupSpan + i*setupSpan/l.setupRecords()
	return l.flow(i/2, int(i/2), at, i%2 == 1, mix(uint64(i/2)^0x5e7))
}

// record returns record i of what is measured.
func (l *load) record(i int64) (key, value []byte) {
	h := mix(uint64(i / 2))
	source := int(h>>20) % l.active * (l.sources / l.active)
	return l.flow(i/2, source, l.start+i*1_000_000/int64(l.rate), i%2 == 1, mix(h))
}

// flow makes one flow record of talk n, the one of the source or its
// counterpart. h decides all that varies.
func (l *load) flow(n int64, source int, at int64, back bool, h uint64) (key, value []byte) {
	e := &l.ev
	e.Reset()
	e.Kind = event.KindFlow
	e.Time, e.Start, e.End = at, at-1_000_000-int64(h%58_000_000), at
	e.Observer = event.Observer{Type: "vpcflow", Name: l.names[source%observers], Realm: site.DefaultRealm}
	e.Origin = event.Origin{Name: "flow/2026/11/24.log.gz", Line: event.N(n%1_000_000 + 1)}

	// Which of its few peers, and which of the site's peers that is: some are
	// everybody's.
	favourite := mix(uint64(source)<<8 | (h>>8)%peersASource)
	rank := uint64(math.Pow(unit(favourite), 3) * peers)
	peer := event.Endpoint{IP: external(rank), Port: event.N(443)}
	own := event.Endpoint{IP: internal(source), Port: event.N(32768 + int(h>>16)%28000)}

	// A request of hundreds of bytes to some hundred kilobytes, mostly small;
	// the answer is mostly larger.
	sent := uint64(300 * math.Pow(2, 9*math.Pow(unit(mix(h)), 2)))
	got := uint64(float64(sent) * math.Pow(2, 8*unit(mix(h^1))-2))
	if mix(h^2)%largeOneIn == 0 {
		sent, got = 30_000_000+h%30_000_000, 300_000
	}
	bytes := sent
	if back {
		own, peer, bytes = peer, own, got
	}
	own.Bytes, own.Packets = event.N(bytes), event.N(bytes/1200+3)
	e.Source, e.Destination = own, peer
	e.Network = event.Network{Transport: "tcp", Layer: event.LayerIP}
	e.Flow = event.Flow{Action: "accept", Interface: "eni-" + strconv.FormatUint(mix(uint64(source))|1<<63, 16)}
	return l.encode()
}

// probe is a connection that is an alert by itself: number n, from an address
// of its own.
func (l *load) probe(n int, at int64) (key, value []byte) {
	e := &l.ev
	e.Reset()
	e.Kind = event.KindConn
	e.Time, e.Start, e.End = at, at-30_000_000, at
	e.Observer = event.Observer{Type: "zeek", Name: "probe", Realm: site.DefaultRealm}
	e.Origin = event.Origin{Name: "conn.log", Line: event.N(n + 1)}
	e.ID = "Cprobe" + strconv.Itoa(n)
	e.Source = event.Endpoint{IP: probeAddr(n), Port: event.N(50000), Bytes: event.N(60_000_000), Packets: event.N(45_000), IPBytes: event.N(62_000_000)}
	e.Destination = event.Endpoint{IP: external(uint64(n) % peers), Port: event.N(443), Bytes: event.N(400_000), Packets: event.N(9_000), IPBytes: event.N(800_000)}
	e.Network = event.Network{Transport: "tcp", Protocol: "tls", Layer: event.LayerPayload}
	e.Conn = event.Conn{State: "SF", History: "ShADadFf"}
	return l.encode()
}

func (l *load) encode() (key, value []byte) {
	l.site.Place(&l.ev, &l.place)
	value, err := l.ev.Append(l.buf[:0])
	if err != nil {
		panic("bench: " + err.Error()) // a kind that the codec does not know
	}
	l.buf = value
	return l.place.Key, value
}

// internal is the address of a source, external one of a peer, probeAddr that
// of a probe. They do not overlap.
func internal(n int) netip.Addr { return addr(10<<24 | uint32(n)&0x7fffff) }

func external(n uint64) netip.Addr { return addr(52<<24 | uint32(mix(n))&0xffffff) }

func probeAddr(n int) netip.Addr { return addr(10<<24 | 0x800000 | uint32(n)&0x7fffff) }

func addr(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// marks are the sources of the load, complete up to low, as an ingest instance
// tells of them.
func (l *load) marks(low int64, records uint64) []event.SourceMark {
	out := make([]event.SourceMark, 0, observers+1)
	for _, n := range l.names {
		out = append(out, event.SourceMark{Type: "vpcflow", Name: n, Realm: site.DefaultRealm, Stream: event.KindFlow.String(), Low: low, Records: records, Promise: true})
	}
	return out
}

func markValue(sources []event.SourceMark, instance string) []byte {
	m := event.Mark{Instance: instance, Full: true, Sources: sources}
	data, err := m.Append(nil)
	if err != nil {
		panic("bench: " + err.Error()) // strings and numbers always encode
	}
	return data
}
