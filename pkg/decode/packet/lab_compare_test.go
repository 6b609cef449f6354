package packet_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// TestZeek holds our events against the logs that Zeek made of the same
// captures. What differs, and why:
//
//   - Zeek ends a UDP connection of DNS 10 s after its last answer
//     (dns_session_timeout), we after a minute of silence: where a client
//     uses a port again in between, Zeek has two connections and we have one.
//     Compared are sums by tuple.
//   - Zeek counts a fragmented datagram as one packet with one IP header, we
//     count the fragments: 20 bytes for each packet more.
//   - Zeek's duration leaves out the last ACKs.
//   - Zeek takes the payload of a segment that the snap length cut for missed
//     as a whole, we only what was cut off.
//   - Zeek gives no bytes and no end where one packet was all.
//   - Zeek's rtt is there only with answers, ours with any reply.
//   - Data of answers is counted by Zeek's decoder from text, here on the wire:
//     names are longer by their length bytes and shorter by compression,
//     strings are longer by their length byte. Data that Zeek does not read
//     (NULL, PRIVATE) has no size there.
//   - On mDNS Zeek joins each answer to whatever question the same host asked
//     before, with id 0. We give each question its own event at once.
//   - The ALPN of TLS 1.3 is hidden in the server's reply; ours is what the
//     client offers first.
func TestZeek(t *testing.T) {
	t.Parallel()
	for _, dir := range lab(t) {
		name := filepath.Base(dir)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, rec, stats := decodeAll(t, unpacked(t, filepath.Join(dir, name+".pcap.gz")))
			if rec.Lost > 0 || rec.Skipped > 0 {
				t.Errorf("dead %v, ignored %v", rec.Deads, rec.Ignores)
			}
			if stats.Tracked != stats.Packets || stats.Waiting > 0 {
				t.Errorf("not all packets are in a flow: %+v", stats)
			}
			want := zeekEvents(t, dir, "conn", "dns", "ssl", "quic")
			compareConns(t, got[event.KindConn], want[event.KindConn])
			compareDNS(t, got[event.KindDNS], want[event.KindDNS])
			compareTLS(t, got[event.KindTLS], want[event.KindTLS])
			if n := uint64(len(got[event.KindICMP])); len(want[event.KindDNS]) == 0 && n == 0 && len(want[event.KindTLS]) == 0 {
				t.Errorf("nothing but connections")
			}
		})
	}
}

// sums is what all connections of a tuple carried.
type sums struct {
	conns                 int
	packets, bytes, ip    [2]uint64
	missed                uint64
	state, protocol       string
	first, last           int64
	bytesKnown, endsKnown bool
}

func addUp(conns []*event.Event) map[string]*sums {
	out := map[string]*sums{}
	for _, e := range conns {
		if e.Conn.Open {
			continue
		}
		k := fmt.Sprint(e.Network.Transport, e.Source.IP, e.Source.Port.Or(0), e.Destination.IP, e.Destination.Port.Or(0))
		s := out[k]
		if s == nil {
			s = &sums{first: e.Start, bytesKnown: true, endsKnown: true}
			out[k] = s
		}
		s.conns++
		for i, side := range []event.Endpoint{e.Source, e.Destination} {
			s.packets[i] += side.Packets.Or(0)
			s.bytes[i] += side.Bytes.Or(0)
			s.ip[i] += side.IPBytes.Or(0)
			s.bytesKnown = s.bytesKnown && side.Bytes.Known()
		}
		s.missed += e.Conn.MissedBytes.Or(0)
		s.state, s.protocol = e.Conn.State, e.Network.Protocol
		s.first, s.last = min(s.first, e.Start), max(s.last, e.End)
		s.endsKnown = s.endsKnown && e.End != 0
	}
	return out
}

func compareConns(t *testing.T, ours, zeeks []*event.Event) {
	t.Helper()
	got, want := addUp(ours), addUp(zeeks)
	for k, z := range want {
		g := got[k]
		if g == nil {
			t.Errorf("%s: Zeek has a connection, we have none", k)
			continue
		}
		if g.conns > z.conns {
			t.Errorf("%s: %d connections, Zeek has %d", k, g.conns, z.conns)
		}
		if g.state != z.state || g.protocol != z.protocol || g.first != z.first {
			t.Errorf("%s: %s %s %d, Zeek has %s %s %d", k, g.state, g.protocol, g.first, z.state, z.protocol, z.first)
		}
		if z.bytesKnown && g.bytes != z.bytes {
			t.Errorf("%s: bytes %v, Zeek has %v", k, g.bytes, z.bytes)
		}
		for i := range 2 {
			if g.packets[i] < z.packets[i] || g.ip[i]-z.ip[i] != 20*(g.packets[i]-z.packets[i]) {
				t.Errorf("%s: packets %v IP bytes %v, Zeek has %v %v", k, g.packets, g.ip, z.packets, z.ip)
			}
		}
		if g.missed > z.missed || (g.missed == 0) != (z.missed == 0) {
			t.Errorf("%s: missed %d, Zeek has %d", k, g.missed, z.missed)
		}
		if z.endsKnown && (g.last < z.last || g.last > z.last+50_000) {
			t.Errorf("%s: last %d, Zeek has %d", k, g.last, z.last)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d tuples, Zeek has %d", len(got), len(want))
	}
}

func compareDNS(t *testing.T, ours, zeeks []*event.Event) {
	t.Helper()
	key := func(e *event.Event) string {
		return fmt.Sprint(e.Time, e.Network.Transport, e.Source.IP, e.Source.Port.Or(0), e.Destination.IP, e.DNS.ID, " ", e.DNS.Name, " ", e.DNS.Type)
	}
	got := map[string]*event.Event{}
	for _, e := range ours {
		if e.DNS.NotDNS {
			t.Errorf("not DNS: %s", key(e))
		}
		if e.Destination.Port.Or(0) == 5353 {
			continue
		}
		if got[key(e)] != nil {
			t.Errorf("twice: %s", key(e))
		}
		got[key(e)] = e
	}
	n := 0
	for _, z := range zeeks {
		if z.Destination.Port.Or(0) == 5353 {
			continue
		}
		n++
		g := got[key(z)]
		if g == nil {
			t.Errorf("Zeek has %s, we have not", key(z))
			continue
		}
		a, b := &g.DNS, &z.DNS
		if a.ResponseCode != b.ResponseCode {
			t.Errorf("%s: %s, Zeek has %s", key(z), a.ResponseCode, b.ResponseCode)
		}
		if b.Answers.Known() && a.Answers != b.Answers || b.RTT.Known() && a.RTT != b.RTT || b.MinTTL.Known() && a.MinTTL != b.MinTTL {
			t.Errorf("%s: answers %v rtt %v ttl %v, Zeek has %v %v %v", key(z), a.Answers, a.RTT, a.MinTTL, b.Answers, b.RTT, b.MinTTL)
		}
		if fmt.Sprint(a.Addresses) != fmt.Sprint(b.Addresses) {
			t.Errorf("%s: addresses %v, Zeek has %v", key(z), a.Addresses, b.Addresses)
		}
		// A string of TXT holds up to 255 bytes and is seldom short.
		if d := a.DataBytes.Or(0) - b.DataBytes.Or(0); b.Type == "TXT" && b.DataBytes.Known() &&
			(d < b.Answers.Or(0) || d > 2*b.Answers.Or(0)+b.DataBytes.Or(0)/200) {
			t.Errorf("%s: data %v, Zeek has %v in %v answers", key(z), a.DataBytes, b.DataBytes, b.Answers)
		}
		if !a.QueryBytes.Known() || a.ResponseBytes.Known() != (a.ResponseCode != "") || a.RTT.Known() != (a.ResponseCode != "") {
			t.Errorf("%s: sizes %v %v, rtt %v", key(z), a.QueryBytes, a.ResponseBytes, a.RTT)
		}
	}
	if len(got) != n {
		t.Errorf("%d transactions, Zeek has %d", len(got), n)
	}
}

func compareTLS(t *testing.T, ours, zeeks []*event.Event) {
	t.Helper()
	key := func(e *event.Event) string {
		return fmt.Sprint(e.Time, e.Source.IP, e.Source.Port.Or(0), e.Destination.IP, e.Destination.Domain, e.TLS.Version, e.TLS.Established)
	}
	got := map[string]*event.Event{}
	for _, e := range ours {
		got[key(e)] = e
		if len(e.TLS.JA3) != 32 || len(e.TLS.JA4) != 36 {
			t.Errorf("%s: fingerprints %q %q", key(e), e.TLS.JA3, e.TLS.JA4)
		}
	}
	for _, z := range zeeks {
		g := got[key(z)]
		if g == nil {
			t.Errorf("Zeek has %s, we have not", key(z))
		} else if z.TLS.ALPN != "" && g.TLS.ALPN != z.TLS.ALPN {
			t.Errorf("%s: %s, Zeek has %s", key(z), g.TLS.ALPN, z.TLS.ALPN)
		}
	}
	if len(got) != len(zeeks) {
		t.Errorf("%d hellos, Zeek has %d", len(got), len(zeeks))
	}
}
