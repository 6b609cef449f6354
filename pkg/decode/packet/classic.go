package packet

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// Sizes of the classic format's file and record headers.
const (
	fileHeader   = 24
	recordPrefix = 16
)

// Magic numbers of the classic format: for times in micro- and nanoseconds.
const (
	magicMicro = 0xa1b2c3d4
	magicNano  = 0xa1b23c4d
)

// classic is the state of a pcap stream.
type classic struct {
	pcap  *pcapgo.Reader
	order binary.ByteOrder
	link  layers.LinkType
	// longest is the longest record that the file's header allows, of which
	// records beyond maxCapture are passed over.
	longest uint32
	// micro is how many units of a time's fraction are a microsecond.
	micro int64
	// first and last are seconds of records that were read, 0 before.
	first, last uint32
	odd         int // records that made it look ahead
}

func (r *Reader) startClassic(sink decode.Sink) error {
	head, err := r.peek(fileHeader)
	if len(head) < fileHeader {
		return r.truncated(err, sink)
	}
	c := &r.classic
	c.order, c.micro = binary.LittleEndian, 1
	if m := binary.BigEndian.Uint32(head); m == magicMicro || m == magicNano {
		c.order = binary.BigEndian
	}
	if c.order.Uint32(head) == magicNano {
		c.micro = 1000
	}
	c.longest = min(max(c.order.Uint32(head[16:]), maxCapture), 1<<24)
	// The upper bits say whether frames end in a check sequence.
	c.link = layers.LinkType(c.order.Uint32(head[20:]) & 0xffff)
	// The pcapgo reader takes r.in as its own buffer, since it is one: what it
	// reads is consumed here, and no byte more.
	if c.pcap, err = pcapgo.NewReader(r.in); err != nil {
		return r.unknown(sink)
	}
	c.pcap.SetSnaplen(maxCapture)
	r.consumed += fileHeader
	r.next = (*Reader).nextClassic
	return nil
}

// nextClassic reads one packet. What pcapgo would stumble over, or trust, is
// looked at before: it reads only records that are sound and present.
func (r *Reader) nextClassic(sink decode.Sink) error {
	c := &r.classic
	head, err := r.peek(recordPrefix)
	if len(head) < recordPrefix {
		if len(head) == 0 && errors.Is(err, io.EOF) {
			return io.EOF
		}
		return r.truncated(err, sink)
	}
	captured, length := c.order.Uint32(head[8:]), c.order.Uint32(head[12:])
	if captured > maxCapture {
		if captured <= c.longest && captured <= length && c.near(head) {
			// As the header of the file allows: too long, but sound.
			r.die(decode.ReasonTooLong, head, sink)
			r.packets++
			if err := r.skip(recordPrefix + uint64(captured)); err != nil {
				return r.truncated(err, sink)
			}
			return nil
		}
		return r.resync(sink)
	}
	size := recordPrefix + int(captured)
	ahead, err := r.peek(size + recordPrefix)
	if len(ahead) < size {
		if c.first != 0 && c.search(ahead, len(ahead)-recordPrefix, true) > 0 {
			return r.resync(sink) // not the end: the length is wrong
		}
		return r.truncated(err, sink)
	}
	if captured > length || !c.near(ahead) || len(ahead) == size+recordPrefix && !c.sized(ahead[size:]) {
		if !r.goesOn(size) {
			return r.resync(sink)
		}
		ahead, _ = r.peek(size) // goesOn may have moved it
	}
	record := ahead[:size]
	offset := r.consumed
	if c.last = c.order.Uint32(record); c.first == 0 {
		c.first = c.last
	}
	if captured > length {
		// Some writers leave the length out. pcapgo would not read it.
		ts := int64(c.last)*second + int64(c.order.Uint32(record[4:]))/c.micro
		data := record[recordPrefix:]
		r.tracker.Packet(ts, c.link, data, len(data), r.count(offset), sink)
		return r.skip(uint64(len(record)))
	}
	data, info, err := c.pcap.ZeroCopyReadPacketData()
	if err != nil {
		return r.end(err) // cannot be: the record was there
	}
	r.consumed += uint64(len(record))
	r.tracker.Packet(info.Timestamp.UnixMicro(), c.link, data, info.Length, r.count(offset), sink)
	return nil
}

// near reports whether the time of a record is within a day of the one before,
// or of the first: the one before may be damaged itself.
func (c *classic) near(head []byte) bool {
	ts := int64(c.order.Uint32(head))
	within := func(of uint32) bool { d := ts - int64(of); return d <= aDay && d >= -aDay }
	return c.first == 0 || within(c.last) || within(c.first)
}

// sized reports whether the lengths of a record header hold together. Some
// writers leave the second out.
func (c *classic) sized(head []byte) bool {
	captured, length := c.order.Uint32(head[8:]), c.order.Uint32(head[12:])
	return captured <= c.longest && (captured <= length || length == 0) && length <= max(c.longest, 1<<20) && c.order.Uint32(head[4:]) < 1e9
}

// oddAhead is how far is looked ahead of a record that is odd in itself.
const oddAhead = 16 << 10

// maxOdd is how often that is done in one file, so that one made of odd
// records costs no more than another.
const maxOdd = 4096

// goesOn reports whether a record of size bytes whose time is far off, whose
// lengths contradict each other, or whose successor is odd, is where it seems
// to be. It is not where records of the usual time begin inside of it; and one
// that is odd itself must lead to such records, or to any other, or the end.
func (r *Reader) goesOn(size int) bool {
	c := &r.classic
	ahead, err := r.peek(max(oddAhead, size+recordPrefix))
	sound := c.sized(ahead) && c.near(ahead)
	if c.odd++; c.first != 0 && c.odd <= maxOdd {
		if found := c.search(ahead, len(ahead)-recordPrefix, err != nil); found > 0 {
			at := 0
			for at < found && at+recordPrefix <= len(ahead) {
				at += recordPrefix + int(min(c.order.Uint32(ahead[at+8:]), maxCapture))
			}
			return at == found || sound && found >= size
		}
	}
	if len(ahead) < size+recordPrefix {
		return err != nil && len(ahead) == size
	}
	return sound || c.sized(ahead[size:])
}

// search returns where in ahead, up to limit but not at its beginning, two
// records seem to follow each other, or one to end the stream; 0 for nowhere.
func (c *classic) search(ahead []byte, limit int, ended bool) int {
	plausible := func(head []byte) bool { return c.sized(head) && c.near(head) && c.order.Uint32(head[8:]) > 0 }
	for at := 1; at <= limit; at++ {
		if !plausible(ahead[at:]) {
			continue
		}
		next := at + recordPrefix + int(c.order.Uint32(ahead[at+8:]))
		if next+recordPrefix <= len(ahead) && plausible(ahead[next:]) || ended && next == len(ahead) {
			return at
		}
	}
	return 0
}

// resync reports damage, once, and passes over it to where records go on.
func (r *Reader) resync(sink decode.Sink) error {
	raw, _ := r.peek(4096)
	r.die(decode.ReasonValue, raw, sink)
	for {
		ahead, err := r.peek(window)
		limit := len(ahead) - recordPrefix
		if err == nil {
			// The longest record that begins in this part, and the header of
			// the next, lie in the window.
			limit = window - maxCapture - 2*recordPrefix
		}
		skip := limit
		if at := r.classic.search(ahead, limit, err != nil); at > 0 {
			return r.skip(uint64(at))
		} else if err != nil {
			skip = len(ahead)
		}
		if skipped := r.skip(uint64(skip)); skipped != nil {
			return r.end(skipped)
		}
		if err != nil {
			return r.end(err)
		}
	}
}
