package volume

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"pgregory.net/rapid"
)

// openLedgers is a detector of which no ledger keeps anything small.
type openLedgers struct{ rules }

func (d openLedgers) Base() detect.Detector { return newNameKeeper() }

func (d openLedgers) Wants(e *event.Event, env *detect.Env) bool { return begins(d.rules, e, env) }

func (d openLedgers) New() detect.State { return openLedger{newLedger(d.rules)} }

type openLedger struct{ *ledger }

func (l openLedger) Apply(e *event.Event, env *detect.Env) {
	l.ledger.Apply(e, env)
	l.openAll()
}

func (l openLedger) Load(data []byte) error {
	err := l.ledger.Load(data)
	l.openAll()
	return err
}

// heard is what a set emitted.
type heard struct {
	out bytes.Buffer
}

func (h *heard) Emit(o operator.Output)      { fmt.Fprintf(&h.out, "%s %s\n", o.Kind, o.Value) }
func (h *heard) Touch(int)                   {}
func (h *heard) Count(string, string, int64) {}

// TestSmallIsAPair: what a ledger keeps small, and what it would be as a pair,
// are the same in all that is said and in every snapshot.
func TestSmallIsAPair(t *testing.T) {
	t.Parallel()
	const second, start = int64(1_000_000), int64(1_795_430_400_000_000)
	sites := [][]byte{nil, []byte("sanctioned_destinations: [203.0.113.2/32]\n"), []byte("detectors:\n  external-transfer:\n    thresholds: {rare_bytes: 30000}\n  upload-ratio:\n    thresholds: {slow_bytes: 60000}\n")}
	took := 0
	rapid.Check(t, func(t *rapid.T) {
		var sets [2]*detect.Set
		var said [2]heard
		fresh := func() {
			for i, list := range [2][]detect.Detector{
				{NewExternalTransfer(), NewUploadRatio()},
				{openLedgers{NewExternalTransfer().(rules)}, openLedgers{NewUploadRatio().(rules)}},
			} {
				set, err := detect.NewSet(detect.Config{}, list)
				if err != nil {
					t.Fatal(err)
				}
				sets[i] = set
			}
		}
		fresh()
		offset := int64(0)
		apply := func(kind string, key, value []byte, at int64) {
			offset++
			for i, set := range sets {
				r := operator.Record{Topic: "t", Offset: offset, Time: at, Kind: kind, Key: key, Value: value}
				if err := set.Apply(&r, &said[i]); err != nil {
					t.Fatal(err)
				}
			}
		}
		st := site.Default()
		var place site.Placement
		at, low := start, start
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			at += rapid.SampledFrom([]int64{1, 20, 200, 1500}).Draw(t, "later") * second
			late := rapid.SampledFrom([]int64{0, 0, 0, 400, 4000}).Draw(t, "late") * second
			e := event.Event{Kind: event.KindFlow, Time: at - late, Start: at - late - rapid.SampledFrom([]int64{0, 3, 50, 400}).Draw(t, "lasted")*second}
			e.Observer = event.Observer{Type: "vpcflow", Name: rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(t, "observer"), Realm: site.DefaultRealm}
			n := rapid.IntRange(1, 4).Draw(t, "peer")
			peer := netip.AddrFrom4([4]byte{203, 0, 113, byte(n)})
			if n == 4 {
				peer = netip.MustParseAddr("2001:db8::4")
			}
			e.Source = event.Endpoint{IP: netip.MustParseAddr("10.0.0.5"), Port: event.N(40000), Bytes: event.N(rapid.SampledFrom([]uint64{0, 300, 9000, 20_000, 70_000, 3_000_000}).Draw(t, "bytes"))}
			e.Destination = event.Endpoint{IP: peer, Port: event.N(rapid.SampledFrom([]uint64{443, 443, 22, 50000}).Draw(t, "port"))}
			e.Network = event.Network{Transport: rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "transport"), Layer: event.LayerIP}
			e.Flow = event.Flow{Action: "accept", Interface: rapid.SampledFrom([]string{"eni-1", "eni-1", "eni-2", "eni-3"}).Draw(t, "interface"), InstanceID: "i-1"}
			switch rapid.IntRange(0, 30).Draw(t, "what") {
			case 0, 1, 2, 3, 4, 5, 6, 7, 8:
				e.Source, e.Destination = e.Destination, e.Source
				e.Source.Bytes, e.Destination.Bytes = e.Destination.Bytes, event.Count{}
			case 9:
				e.Kind, e.ID, e.Flow, e.Network.Layer = event.KindConn, fmt.Sprint("C", offset), event.Flow{}, event.LayerPayload
				e.Destination.Bytes, e.Conn.State = event.N(500), "SF"
			case 10:
				e.Kind, e.ID, e.Flow = event.KindDNS, "", event.Flow{}
				e.Destination = event.Endpoint{IP: netip.MustParseAddr("10.0.0.53"), Port: event.N(53)}
				e.Source.Bytes = event.Count{}
				e.DNS = event.DNS{Name: fmt.Sprintf("h%d.example.com", n), Type: "A", ResponseCode: "NOERROR", Addresses: []netip.Addr{peer}}
			case 11:
				e.Flow.InstanceID = "i-2"
			case 12, 13, 14:
				if low = max(low, at-rapid.Int64Range(0, 600).Draw(t, "behind")*second); true {
					m := event.Mark{Instance: "x", Full: true, Closing: rapid.IntRange(0, 5).Draw(t, "closing") == 0}
					for _, name := range []string{"a", "b"} {
						m.Sources = append(m.Sources, event.SourceMark{Type: "vpcflow", Name: name, Realm: site.DefaultRealm, Low: low})
					}
					data, err := m.Append(nil)
					if err != nil {
						t.Fatal(err)
					}
					apply(event.KindMark.String(), []byte("mark"), data, at)
				}
				continue
			case 15:
				file := rapid.SampledFrom(sites).Draw(t, "site")
				for _, set := range sets {
					if err := set.Epoch(detect.EpochSite, file); err != nil {
						t.Fatal(err)
					}
				}
				continue
			case 16: // a restart
				shared := sets[0].AppendShared(nil)
				var data [][]byte
				for b := range sets[0].Buckets() {
					data = append(data, sets[0].AppendBucket(nil, b))
				}
				fresh()
				for _, set := range sets {
					for b := range data {
						if err := set.LoadBucket(b, data[b]); err != nil {
							t.Fatal(err)
						}
					}
					if err := set.LoadShared(shared); err != nil {
						t.Fatal(err)
					}
				}
				continue
			}
			st.Place(&e, &place)
			value, err := e.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			apply(e.Kind.String(), place.Key, value, at)
			for b := range sets[0].Buckets() {
				if !bytes.Equal(sets[0].AppendBucket(nil, b), sets[1].AppendBucket(nil, b)) {
					t.Fatalf("bucket %d differs after %s", b, value)
				}
			}
		}
		if a, b := said[0].out.String(), said[1].out.String(); a != b {
			t.Fatalf("small:\n%s\nopen:\n%s", a, b)
		}
		took += said[0].out.Len()
	})
	if took == 0 {
		t.Error("nothing was said at all")
	}
}
