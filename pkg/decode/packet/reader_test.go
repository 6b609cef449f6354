package packet_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// sample is a few packets that give events at once: ICMP messages.
func sample(n int) (out [][]byte) {
	for i := range n {
		out = append(out, icmp4(8, 0, 1, uint16(i), bytes.Repeat([]byte{byte(i)}, i%90)))
	}
	return out
}

// read decodes a file and returns its ICMP events by sequence number.
func read(tb testing.TB, src io.Reader) (seqs []uint64, rec *decodetest.Recorder, r *packet.Reader, err error) {
	tb.Helper()
	rec = decodetest.New(tb)
	rec.Quiet = true
	rec.Each = func(e *event.Event) {
		if e.Kind == event.KindICMP {
			seqs = append(seqs, e.ICMP.Sequence.Or(0))
		}
	}
	r = packet.NewReader(src, "x", packet.NewTracker(packet.Config{}))
	err = r.ReadAll(rec)
	return seqs, rec, r, err
}

// classicFile writes a classic file by hand.
func classicFile(order binary.AppendByteOrder, nano bool, link uint32, packets [][]byte) (file []byte, ends []int) {
	magic, fraction := uint32(0xa1b2c3d4), uint32(1)
	if nano {
		magic, fraction = 0xa1b23c4d, 1000
	}
	file = order.AppendUint32(nil, magic)
	file = order.AppendUint16(order.AppendUint16(file, 2), 4)
	file = append(file, make([]byte, 8)...)
	file = order.AppendUint32(order.AppendUint32(file, 65535), link)
	ends = append(ends, len(file))
	for i, p := range packets {
		file = order.AppendUint32(file, uint32(begin/second))
		file = order.AppendUint32(file, uint32(i)*fraction)
		file = order.AppendUint32(order.AppendUint32(file, uint32(len(p))), uint32(len(p)))
		file = append(file, p...)
		ends = append(ends, len(file))
	}
	return file, ends
}

func TestClassic(t *testing.T) {
	t.Parallel()
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		for _, nano := range []bool{false, true} {
			// The upper bits of the link type tell of a check sequence.
			file, ends := classicFile(order, nano, 101|0x44000000, sample(20))
			rec := decodetest.New(t)
			rec.Quiet = true
			n := 0
			rec.Each = func(e *event.Event) {
				if e.Kind != event.KindICMP {
					return
				}
				if e.Time != begin+int64(n) || e.Origin.Line != event.N(n+1) || e.Origin.Offset != event.N(ends[n]) || e.Origin.Name != "x" {
					t.Errorf("%v nano %v, packet %d: time %d, origin %v", order, nano, n, e.Time-begin, e.Origin)
				}
				n++
			}
			r := packet.NewReader(iotest.OneByteReader(bytes.NewReader(file)), "x", packet.NewTracker(packet.Config{}))
			if err := r.ReadAll(rec); err != nil || n != 20 || rec.Lost > 0 || r.Packets() != 20 || r.Offset() != uint64(len(file)) {
				t.Errorf("%v nano %v: %d packets, %v, dead %v, offset %d of %d", order, nano, n, err, rec.Deads, r.Offset(), len(file))
			}
		}
	}
}

// TestCutOff: a file that ends anywhere gives all that is whole, and one dead
// record unless it ends between two.
func TestCutOff(t *testing.T) {
	t.Parallel()
	classic, ends := classicFile(binary.LittleEndian, false, 101, sample(6))
	ng, ngEnds := ngFile(t, sample(6))
	for _, c := range []struct {
		name string
		file []byte
		ends []int
	}{{"pcap", classic, ends}, {"pcapng", ng, ngEnds}} {
		for n := range len(c.file) {
			// Nothing, or the section's header alone, is whole, too.
			whole, clean := 0, n == 0 || c.name == "pcapng" && n == int(binary.LittleEndian.Uint32(c.file[4:]))
			for i, e := range c.ends {
				if e <= n {
					whole = i
				}
				clean = clean || e == n
			}
			for _, src := range []io.Reader{bytes.NewReader(c.file[:n]), cut{bytes.NewReader(c.file[:n])}} {
				_, isCut := src.(cut)
				seqs, rec, _, err := read(t, src)
				lost := 1
				if clean && !isCut {
					lost = 0
				}
				if isCut && n == 0 {
					if err == nil {
						t.Errorf("%s: an error before the first byte was not returned", c.name)
					}
					continue
				}
				if err != nil || len(seqs) != whole || rec.Lost != lost || rec.Deads[decode.ReasonTruncated] != lost {
					t.Fatalf("%s cut at %d (cut reader %v): %v, %d packets, want %d; dead %v", c.name, n, isCut, err, len(seqs), whole, rec.Deads)
				}
			}
		}
	}
}

// ngFile writes a pcapng file with gopacket's writer. ends are the end of the
// interface's block and of each packet's.
func ngFile(tb testing.TB, packets [][]byte) (file []byte, ends []int) {
	tb.Helper()
	var out bytes.Buffer
	w, err := pcapgo.NewNgWriter(&out, layers.LinkTypeRaw)
	if err != nil {
		tb.Fatal(err)
	}
	end := func() {
		if err := w.Flush(); err != nil {
			tb.Fatal(err)
		}
		ends = append(ends, out.Len())
	}
	end()
	for i, p := range packets {
		ci := gopacket.CaptureInfo{Timestamp: time.UnixMicro(begin + int64(i)), CaptureLength: len(p), Length: len(p)}
		if err := w.WritePacket(ci, p); err != nil {
			tb.Fatal(err)
		}
		end()
	}
	return out.Bytes(), ends
}

// TestErrors: what the underlying reader says is returned, after what it gave.
func TestErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	classic, ends := classicFile(binary.LittleEndian, false, 101, sample(4))
	ng, _ := ngFile(t, sample(4))
	for _, file := range [][]byte{classic, ng} {
		for n := range len(file) {
			src := io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken))
			_, rec, r, err := read(t, src)
			if !errors.Is(err, broken) || rec.Lost > 0 {
				t.Fatalf("at %d: %v, dead %v", n, err, rec.Deads)
			}
			if err := r.Next(rec); !errors.Is(err, broken) {
				t.Errorf("again: %v", err)
			}
		}
	}
	src := io.MultiReader(bytes.NewReader(classic[:ends[3]]), iotest.ErrReader(broken))
	if seqs, _, _, _ := read(t, src); len(seqs) != 3 {
		t.Errorf("%d packets before the error, want 3", len(seqs))
	}
}

func TestUnknown(t *testing.T) {
	t.Parallel()
	classic, _ := classicFile(binary.LittleEndian, false, 101, sample(4))
	version := bytes.Clone(classic)
	version[4] = 9
	for _, file := range [][]byte{
		[]byte("this is no capture"),
		{0x1f, 0x8b, 8, 0, 0, 0},
		make([]byte, 100), version,
		append([]byte("\x0a\x0d\x0d\x0a\x1c\x00\x00\x00"), make([]byte, 40)...),
	} {
		seqs, rec, _, err := read(t, bytes.NewReader(file))
		if err != nil || len(seqs) > 0 || rec.Lost != 1 || rec.Deads[decode.ReasonUnknownFormat] != 1 {
			t.Errorf("%.10q: %v, %d packets, dead %v", file, err, len(seqs), rec.Deads)
		}
	}
	if _, rec, _, err := read(t, bytes.NewReader(nil)); err != nil || rec.Total() > 0 {
		t.Errorf("empty: %v, %d outcomes", err, rec.Total())
	}
}

// TestDamage: behind a damaged place reading goes on.
func TestDamage(t *testing.T) {
	t.Parallel()
	classic, ends := classicFile(binary.LittleEndian, false, 101, sample(40))
	ng, _ := ngFile(t, sample(40))
	rapid.Check(t, func(r *rapid.T) {
		file := bytes.Clone(classic)
		if rapid.Bool().Draw(r, "ng") {
			file = bytes.Clone(ng)
		}
		at := rapid.IntRange(ends[5], len(file)-2000).Draw(r, "at")
		n := rapid.IntRange(1, 200).Draw(r, "n")
		how := rapid.SampledFrom([]string{"ones", "removed", "text"}).Draw(r, "how")
		switch how {
		case "ones":
			copy(file[at:], bytes.Repeat([]byte{0xff}, n))
		case "text":
			copy(file[at:], bytes.Repeat([]byte("garbage "), n/8+1)[:n])
		case "removed":
			file = append(file[:at], file[at+n:]...)
		}
		seqs, _, _, err := read(t, bytes.NewReader(file))
		last := uint64(0)
		if len(seqs) > 0 {
			last = seqs[len(seqs)-1]
		}
		// At most what was damaged, and the records around it, is missing.
		if err != nil || last != 39 || len(seqs) < 40-n/16-8 {
			r.Errorf("%s %d at %d: %v, %d packets, last %d", how, n, at, err, len(seqs), last)
		}
	})
}

// TestHole: a large part of a file that is no packets is passed over.
func TestHole(t *testing.T) {
	t.Parallel()
	classic, ends := classicFile(binary.LittleEndian, false, 101, sample(40))
	ng, ngEnds := ngFile(t, sample(40))
	hole := bytes.Repeat([]byte("no packet "), 200_000)
	for _, c := range []struct {
		file []byte
		ends []int
	}{{classic, ends}, {ng, ngEnds}} {
		for _, again := range []int{40, 10} { // the last packets come after the hole, or none
			file := bytes.Join([][]byte{c.file[:c.ends[10]], hole, c.file[c.ends[10]:c.ends[again]]}, nil)
			seqs, rec, r, err := read(t, bytes.NewReader(file))
			if err != nil || len(seqs) != again || rec.Lost != 1 || rec.Deads[decode.ReasonValue] != 1 || r.Offset() != uint64(len(file)) {
				t.Errorf("%v, %d packets, want %d; dead %v, offset %d of %d", err, len(seqs), again, rec.Deads, r.Offset(), len(file))
			}
		}
	}
}

// TestSparse: records days apart, and one whose clock is wrong, are not damage.
func TestSparse(t *testing.T) {
	t.Parallel()
	file, ends := classicFile(binary.LittleEndian, false, 101, sample(30))
	for i := range 30 {
		binary.LittleEndian.PutUint32(file[ends[i]:], uint32(1_000_000_000+i*200_000))
	}
	if seqs, rec, _, err := read(t, bytes.NewReader(file)); err != nil || len(seqs) != 30 || rec.Lost > 0 {
		t.Errorf("%v, %d packets, dead %v", err, len(seqs), rec.Deads)
	}
	file, ends = classicFile(binary.LittleEndian, false, 101, sample(30))
	for _, i := range []int{4, 5, 9, 29} {
		binary.LittleEndian.PutUint32(file[ends[i]:], uint32(i))
	}
	if seqs, rec, _, err := read(t, bytes.NewReader(file)); err != nil || len(seqs) != 30 || rec.Lost > 0 {
		t.Errorf("wrong clocks: %v, %d packets, dead %v", err, len(seqs), rec.Deads)
	}
}

func TestTooLong(t *testing.T) {
	t.Parallel()
	// As the snap length of the file allows, but more than is taken.
	big := make([]byte, packet.MaxCapture+1)
	file, _ := classicFile(binary.LittleEndian, false, 101, [][]byte{sample(1)[0], big, sample(2)[1]})
	binary.LittleEndian.PutUint32(file[16:], 1<<20)
	seqs, rec, r, err := read(t, bytes.NewReader(file))
	if err != nil || len(seqs) != 2 || rec.Deads[decode.ReasonTooLong] != 1 || r.Packets() != 3 {
		t.Errorf("pcap: %v, %d packets, dead %v", err, len(seqs), rec.Deads)
	}
	ng, _ := ngFile(t, [][]byte{sample(1)[0], make([]byte, 300_000), sample(2)[1]})
	seqs, rec, r, err = read(t, bytes.NewReader(ng))
	if err != nil || len(seqs) != 2 || rec.Deads[decode.ReasonTooLong] != 1 || r.Packets() != 3 {
		t.Errorf("pcapng: %v, %d packets, dead %v", err, len(seqs), rec.Deads)
	}
	// Lengths that were left out.
	file, ends := classicFile(binary.LittleEndian, false, 101, sample(3))
	for _, at := range ends[:3] {
		copy(file[at+12:], make([]byte, 4))
	}
	if seqs, rec, _, err = read(t, bytes.NewReader(file)); err != nil || len(seqs) != 3 || rec.Lost > 0 {
		t.Errorf("without a length: %v, %d packets, dead %v", err, len(seqs), rec.Deads)
	}
}

// block is a pcapng block.
func block(order binary.AppendByteOrder, kind uint32, body []byte) []byte {
	for len(body)%4 != 0 {
		body = append(body, 0)
	}
	out := order.AppendUint32(order.AppendUint32(nil, kind), uint32(len(body)+12))
	return order.AppendUint32(append(out, body...), uint32(len(body)+12))
}

func option(order binary.AppendByteOrder, code uint16, value []byte) []byte {
	out := append(order.AppendUint16(order.AppendUint16(nil, code), uint16(len(value))), value...)
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	return out
}

// TestNgOracle: of any sound pcapng stream gopacket reads the same packets at
// the same times. (Not so with resolutions of a power of two, which it rounds.)
func TestNgOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		var file []byte
		n := 0
		for range rapid.IntRange(1, 3).Draw(r, "sections") {
			order := rapid.SampledFrom([]binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian}).Draw(r, "order")
			head := order.AppendUint32(nil, 0x1a2b3c4d)
			head = order.AppendUint16(order.AppendUint16(head, 1), 0)
			head = append(head, bytes.Repeat([]byte{0xff}, 8)...)
			file = append(file, block(order, 0x0a0d0d0a, head)...)
			var perSecond []uint64
			for range rapid.IntRange(1, 4).Draw(r, "interfaces") {
				body := append(order.AppendUint16(nil, 101), 0, 0, 0, 0, 0, 0)
				body = append(body, option(order, 2, []byte("eth0"))...)
				resolution := rapid.SampledFrom([]byte{0xff, 3, 6, 9, 12}).Draw(r, "resolution")
				units := uint64(second)
				if resolution != 0xff {
					body = append(body, option(order, 9, []byte{resolution})...)
					units = 1
					for range resolution {
						units *= 10
					}
				}
				perSecond = append(perSecond, units)
				body = append(body, 0, 0, 0, 0)
				file = append(file, block(order, 1, body)...)
			}
			for range rapid.IntRange(0, 8).Draw(r, "blocks") {
				p := sample(n + 1)[n]
				which := rapid.IntRange(0, len(perSecond)-1).Draw(r, "interface")
				units := perSecond[which]
				ts := uint64(begin/second)*units + rapid.Uint64Range(0, units-1).Draw(r, "fraction")
				switch rapid.IntRange(0, 3).Draw(r, "kind") {
				case 0: // name resolution, and one that nobody knows
					file = append(file, block(order, 4, []byte{0, 0, 0, 0})...)
					file = append(file, block(order, 0x40000bad, bytes.Repeat([]byte{7}, 40))...)
				case 1:
					body := order.AppendUint16(order.AppendUint16(nil, uint16(which)), 0)
					body = order.AppendUint32(order.AppendUint32(body, uint32(ts>>32)), uint32(ts))
					body = order.AppendUint32(order.AppendUint32(body, uint32(len(p))), uint32(len(p)))
					file = append(file, block(order, 2, append(body, p...))...)
					n++
				default:
					body := order.AppendUint32(nil, uint32(which))
					body = order.AppendUint32(order.AppendUint32(body, uint32(ts>>32)), uint32(ts))
					body = order.AppendUint32(order.AppendUint32(body, uint32(len(p))), uint32(len(p)+5))
					body = append(body, p...)
					for len(body)%4 != 0 {
						body = append(body, 0)
					}
					body = append(append(body, option(order, 1, []byte("a comment"))...), 0, 0, 0, 0)
					file = append(file, block(order, 6, body)...)
					n++
				}
			}
		}
		var want []string
		oracle, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err != nil {
			r.Fatal(err)
		}
		for {
			data, ci, err := oracle.ReadPacketData()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				r.Fatal(err)
			}
			want = append(want, fmt.Sprint(ci.Timestamp.UnixMicro(), binary.BigEndian.Uint16(data[26:])))
		}
		var got []string
		rec := decodetest.New(t)
		rec.Quiet = true
		rec.Each = func(e *event.Event) {
			if e.Kind == event.KindICMP {
				got = append(got, fmt.Sprint(e.Time, e.ICMP.Sequence.Or(0)))
			}
		}
		if err := packet.NewReader(bytes.NewReader(file), "x", packet.NewTracker(packet.Config{})).ReadAll(rec); err != nil || rec.Lost > 0 {
			r.Fatalf("%v, dead %v", err, rec.Deads)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) || len(got) != n {
			r.Errorf("got %v\nwant %v (%d)", got, want, n)
		}
	})
}

// TestNgBlocks: what gopacket would end at is one dead record.
func TestNgBlocks(t *testing.T) {
	t.Parallel()
	order := binary.AppendByteOrder(binary.LittleEndian)
	head := order.AppendUint32(nil, 0x1a2b3c4d)
	head = append(order.AppendUint16(order.AppendUint16(head, 1), 0), bytes.Repeat([]byte{0xff}, 8)...)
	section := block(order, 0x0a0d0d0a, head)
	iface := func(options ...byte) []byte {
		return block(order, 1, append([]byte{101, 0, 0, 0, 0, 0, 0, 0}, options...))
	}
	enhanced := func(id, high uint32, p []byte, captured uint32) []byte {
		body := order.AppendUint32(order.AppendUint32(order.AppendUint32(nil, id), high), 7)
		return block(order, 6, append(order.AppendUint32(order.AppendUint32(body, captured), captured), p...))
	}
	p := sample(1)[0]
	n := uint32(len(p))
	simple := block(order, 3, append(order.AppendUint32(nil, n), p...))
	for _, c := range []struct {
		name    string
		blocks  [][]byte
		packets int
		dead    int
	}{
		{"simple packets", [][]byte{section, iface(), simple, simple}, 2, 0},
		{"simple packet without an interface", [][]byte{section, simple, iface(), simple}, 1, 1},
		{"no such interface", [][]byte{section, iface(), enhanced(3, 9, p, n), enhanced(0, 9, p, n)}, 1, 1},
		{"longer than the block", [][]byte{section, iface(), enhanced(0, 9, p, n+9), enhanced(0, 9, p, n)}, 1, 1},
		{"beyond all time", [][]byte{section, iface(option(order, 9, []byte{0x80})...), enhanced(0, 0xffffffff, p, n), enhanced(0, 0, p, n)}, 1, 1},
		{"a resolution that is none", [][]byte{section, iface(option(order, 9, []byte{100})...), iface(), enhanced(0, 9, p, n)}, 1, 1},
		{"short blocks", [][]byte{section, block(order, 1, []byte{1}), iface(), block(order, 6, []byte{1}), block(order, 5, []byte{1}), enhanced(0, 9, p, n)}, 1, 3},
		{"interfaces of the section before", [][]byte{section, iface(), section, enhanced(0, 9, p, n)}, 0, 1},
		{"more interfaces than are kept", append(append([][]byte{section}, bytes.SplitAfter(bytes.Repeat(iface(), 4097), iface())[:4097]...), enhanced(4095, 9, p, n)), 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			seqs, rec, _, err := read(t, bytes.NewReader(bytes.Join(c.blocks, nil)))
			if err != nil || len(seqs) != c.packets || rec.Deads[decode.ReasonValue] != c.dead || rec.Lost != c.dead {
				t.Errorf("%v, %d packets, dead %v; want %d, %d", err, len(seqs), rec.Deads, c.packets, c.dead)
			}
		})
	}

	// 16/1024 of a second, on an interface that counts from a minute before.
	offset := order.AppendUint64(nil, ^uint64(59))
	binaryTime := bytes.Join([][]byte{section, iface(append(option(order, 9, []byte{0x80 | 10}), option(order, 14, offset)...)...), enhanced(0, 1<<9, p, n)}, nil)
	rec := decodetest.New(t)
	rec.Quiet = true
	rec.Each = func(e *event.Event) {
		if want := (int64(1)<<(32+9-10)-60)*second + 7*second/1024; e.Time != want {
			t.Errorf("time %d, want %d", e.Time, want)
		}
	}
	if err := packet.NewReader(bytes.NewReader(binaryTime), "x", packet.NewTracker(packet.Config{})).ReadAll(rec); err != nil || rec.Events == 0 {
		t.Errorf("%v, %d events", err, rec.Events)
	}

	stats := order.AppendUint32(order.AppendUint32(order.AppendUint32(nil, 0), uint32(begin>>32)), uint32(begin&0xffffffff))
	for code, v := range map[uint16]uint64{4: 1000, 5: 40, 7: 10} {
		stats = append(stats, option(order, code, order.AppendUint64(nil, v))...)
	}
	rec = decodetest.New(t)
	rec.Quiet = true
	var health []*event.Event
	rec.Each = func(e *event.Event) { health = append(health, clone(e)) }
	file := bytes.Join([][]byte{section, iface(), block(order, 5, stats)}, nil)
	if err := packet.NewReader(bytes.NewReader(file), "x", packet.NewTracker(packet.Config{})).ReadAll(rec); err != nil || len(health) != 1 {
		t.Fatalf("%v, %d events", err, len(health))
	}
	if h := health[0]; h.Kind != event.KindHealth || h.Time != begin || h.Health != (event.Health{Received: event.N(1000), Dropped: event.N(50), PercentLost: 5}) {
		t.Errorf("%+v at %d", h.Health, h.Time)
	}
}
