package dns

import (
	"encoding/binary"
	"net/netip"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
)

// Most domains of most clients are asked for once or twice in an hour, and
// nothing comes of it. Their windows are not counts but the questions
// themselves, in few bytes, from which the counts can be made again: of a
// million windows only those that grow cost what a window costs.

// Bounds of a seed. No sign but those of one name's length, odd bytes or
// uncommon types comes of so few questions; where one does, the window grows.
const (
	maxSeedQuestions = 6
	maxSeedNames     = 2
	maxSeedLabels    = 12 // of a name
	maxSeedBytes     = 192
)

// domain is what is known of a registered domain in one hour: its first
// questions, or its counts.
type domain struct {
	seed seed
	full *window
}

// seed is some questions, encoded:
//
//	byte     how many; bit 7 is the mark of a window that changed
//	byte, …  length of the server's address, and the address
//
// and for each question
//
//	byte     bits 0–2: the number of an earlier question for the same name, 0 for
//	         none, else a bit each of those below
//	uint16   flags
//	uvarint  microseconds from the window's start
//	uvarint  fleeting bytes
//
// and where its name is new
//
//	uint64   hash
//	uvarint  entropy
//	3 bytes  length of the leftmost label, bytes, number of labels
//	9 bytes  for each label: hash, length
type seed []byte

const (
	seedOdd = 1 << (iota + 3)
	seedQuad
	seedTXT
	seedUnused
	seedDirect
)

const seedStale = 0x80

// asking is one question as a window takes it.
type asking struct {
	q        *question
	name     string // "" where it is not known any more
	flags    flags
	t        int64
	fleeting uint64
	server   netip.Addr
	txt, odd bool // types
	direct   bool
}

func (s seed) questions() int {
	if len(s) == 0 {
		return 0
	}
	return int(s[0] &^ seedStale)
}

// body are the questions.
func (s seed) body() []byte {
	if len(s) == 0 {
		return nil
	}
	return s[2+s[1]:]
}

// walk reads one question. hash is that of its name, 0 for an earlier one's;
// rest is what follows it.
func (s seed) walk() (head byte, f flags, at, fleeting uint64, name, rest []byte) {
	head, f = s[0], flags(binary.LittleEndian.Uint16(s[1:]))
	rest = s[3:]
	at, n := binary.Uvarint(rest)
	rest = rest[n:]
	fleeting, n = binary.Uvarint(rest)
	rest = rest[n:]
	if head&7 != 0 {
		return head, f, at, fleeting, nil, rest
	}
	_, n = binary.Uvarint(rest[8:])
	size := 8 + n + 3 + 9*int(rest[8+n+2])
	return head, f, at, fleeting, rest[:size], rest[size:]
}

// replay lets a window take the questions. q is scratch.
func (s seed) replay(w *window, start int64, q *question) {
	w.limit = maxSample
	if len(s) == 0 {
		return
	}
	a := asking{q: q}
	a.server, _ = netip.AddrFromSlice(s[2 : 2+s[1]])
	var names [maxSeedQuestions][]byte
	i := 0
	for rest := s.body(); len(rest) > 0; i++ {
		var head byte
		var at uint64
		var name []byte
		head, a.flags, at, a.fleeting, name, rest = seed(rest).walk()
		a.t = start + int64(at)
		a.txt, a.odd, a.direct = head&seedTXT != 0, head&seedUnused != 0, head&seedDirect != 0
		if earlier := head & 7; earlier != 0 {
			name = names[earlier-1]
		} else {
			names[i] = name
		}
		*q = question{labels: q.labels[:0], hash: binary.LittleEndian.Uint64(name)}
		entropy, n := binary.Uvarint(name[8:])
		q.entropy = int64(entropy)
		name = name[8+n:]
		q.leftmost, q.bytes = int(name[0]), int(name[1])
		for l := name[3:]; len(l) > 0; l = l[9:] {
			q.labels = append(q.labels, label{binary.LittleEndian.Uint64(l), l[8]})
		}
		q.odd, q.quad = head&seedOdd != 0, head&seedQuad != 0
		w.take(&a, start)
	}
}

// with returns a seed that holds one more question. ok is false where it would
// be more than a seed holds.
func (s seed) with(a *asking, start int64) (out seed, ok bool) {
	q := a.q
	if s.questions() == maxSeedQuestions || len(q.labels) > maxSeedLabels || len(s) > maxSeedBytes || a.t < start || a.server.Zone() != "" ||
		len(s) > 0 && s[1] == 0 && a.server.IsValid() {
		return s, false
	}
	head := byte(0)
	for _, b := range [...]struct {
		set bool
		bit byte
	}{{q.odd, seedOdd}, {q.quad, seedQuad}, {a.txt, seedTXT}, {a.odd, seedUnused}, {a.direct, seedDirect}} {
		if b.set {
			head |= b.bit
		}
	}
	names, i := 0, 0
	for rest := s.body(); len(rest) > 0; i++ {
		var name []byte
		_, _, _, _, name, rest = seed(rest).walk()
		if name == nil {
			continue
		}
		names++
		if binary.LittleEndian.Uint64(name) == q.hash {
			head |= byte(i + 1)
		}
	}
	if head&7 == 0 && names == maxSeedNames {
		return s, false
	}
	var buf [maxSeedBytes + 64 + 9*maxSeedLabels]byte
	add := binary.LittleEndian.AppendUint16(append(buf[:0], head), uint16(a.flags))
	add = binary.AppendUvarint(add, uint64(a.t-start))
	add = binary.AppendUvarint(add, a.fleeting)
	if head&7 == 0 {
		add = binary.AppendUvarint(binary.LittleEndian.AppendUint64(add, q.hash), uint64(q.entropy))
		add = append(add, byte(min(q.leftmost, 255)), byte(min(q.bytes, 255)), byte(len(q.labels)))
		for _, l := range q.labels {
			add = append(binary.LittleEndian.AppendUint64(add, l.hash), l.bytes)
		}
	}
	if len(s) == 0 {
		server := a.server.AsSlice()
		out = make(seed, 0, 2+len(server)+len(add))
		out = append(append(out, 1, byte(len(server))), server...)
		return append(out, add...), true
	}
	out = make(seed, 0, len(s)+len(add))
	out = append(append(out, s...), add...)
	out[0]++
	return out, true
}

// decide adds flags to the questions for a name, and reports whether that
// changed anything.
func (s seed) decide(name uint64, add flags) bool {
	var have flags
	found := 0
	i := 0
	for rest := s.body(); len(rest) > 0; i++ {
		head, f, _, _, text, after := seed(rest).walk()
		if text != nil && nameKey(binary.LittleEndian.Uint64(text)) == name {
			found = i + 1
		}
		if found != 0 && (found == i+1 || int(head&7) == found) {
			have |= f
		}
		rest = after
	}
	if found == 0 || have&add == add {
		return false
	}
	i = 0
	for rest := s.body(); len(rest) > 0; i++ {
		head, f, _, _, _, after := seed(rest).walk()
		if i+1 == found || int(head&7) == found {
			binary.LittleEndian.PutUint16(rest[1:], uint16(f|add))
		}
		rest = after
	}
	return true
}

// sound reports whether a seed that was loaded is one.
func (s seed) sound() bool {
	if len(s) == 0 {
		return true
	}
	if len(s) < 2 || s[1] != 0 && s[1] != 4 && s[1] != 16 || len(s) < 2+int(s[1]) || len(s) > 2*maxSeedBytes+9*maxSeedLabels {
		return false
	}
	known := [maxSeedQuestions]bool{}
	rest := []byte(s.body())
	n := 0
	for ; len(rest) > 0; n++ {
		if n == maxSeedQuestions || len(rest) < 3 {
			return false
		}
		head := rest[0]
		rest = rest[3:]
		for range 2 {
			_, k := binary.Uvarint(rest)
			if k <= 0 {
				return false
			}
			rest = rest[k:]
		}
		if earlier := int(head & 7); earlier != 0 {
			if earlier > n || !known[earlier-1] {
				return false
			}
			continue
		}
		known[n] = true
		if len(rest) < 8 {
			return false
		}
		_, k := binary.Uvarint(rest[8:])
		if k <= 0 || len(rest) < 8+k+3 {
			return false
		}
		labels := int(rest[8+k+2])
		rest = rest[8+k+3:]
		if labels > maxSeedLabels || len(rest) < 9*labels {
			return false
		}
		rest = rest[9*labels:]
	}
	return n == s.questions()
}

// open returns the counts of a window: its own, or those that its seed makes,
// which are valid until the next call.
func (t *Tunnel) open(h *detect.Hour[domain]) *window {
	if w := h.Value.full; w != nil {
		return w
	}
	t.counts.reset()
	h.Value.seed.replay(&t.counts, h.Start, &t.replayed)
	return &t.counts
}

// take lets a window take a question and returns the counts. It grows where the
// seed has no room.
func (t *Tunnel) take(h *detect.Hour[domain], a *asking) *window {
	d := &h.Value
	if d.full == nil {
		next, ok := d.seed.with(a, h.Start)
		if !ok || t.limits.shardNames <= maxSeedQuestions {
			w := new(window)
			d.seed.replay(w, h.Start, &t.replayed)
			*d = domain{full: w}
		} else {
			w := t.open(h)
			w.take(a, h.Start)
			d.seed = next
			return w
		}
	}
	d.full.take(a, h.Start)
	return d.full
}

// settle makes a window of a seed where more has come of it than its questions
// tell.
func (t *Tunnel) settle(h *detect.Hour[domain], w *window) {
	if h.Value.full != nil || w.plain() {
		return
	}
	full := *w
	full.names, full.labels = w.names.Clone(), w.labels.Clone()
	full.places = append([]place(nil), w.places...)
	h.Value = domain{full: &full}
}

// plain reports whether a window is what its questions make it.
func (w *window) plain() bool {
	return w.told.weighty() == levels{} && w.emissions == 0 && w.part == part{} && len(w.evidence) == 0 && w.lastPicked == 0 &&
		len(w.examples) == 0 && w.names.Level() == 0 && w.labels.Level() == 0
}

// reset makes a window empty and keeps the room of its samples.
func (w *window) reset() {
	w.names.Reset()
	w.labels.Reset()
	*w = window{names: w.names, labels: w.labels, places: w.places[:0]}
}

// mark notes that a window has changed since it was judged, and reports whether
// that is news.
func (d *domain) mark() bool {
	if d.full != nil {
		news := !d.full.stale
		d.full.stale = true
		return news
	}
	news := d.seed[0]&seedStale == 0
	d.seed[0] |= seedStale
	return news
}

func (d *domain) unmark() {
	if d.full != nil {
		d.full.stale = false
	} else if len(d.seed) > 0 {
		d.seed[0] &^= seedStale
	}
}

// size is about how many bytes a window takes.
func (d *domain) size() int {
	n := cap(d.seed)
	if w := d.full; w != nil {
		n += windowSize + w.names.Size() + w.labels.Size() + 12*cap(w.places)
		for i := range w.evidence {
			n += len(w.evidence[i].Record) + 128
		}
	}
	return n
}
