package volume

import (
	"math/bits"
	"net/netip"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

const second = int64(1_000_000)

// slot is the grain of activity: a connection keeps its pair active for as
// long as it lasts, and at least for the slot in which it ends.
const slot = 10 * second

// sums is what one observer saw between a pair in some panes.
type sums struct {
	up, down uint64
	out, in  uint32 // records of that direction
	conns    uint32
	// busy is the time that connections lasted, slots the slots in which the
	// shorter ones ended; a bit field is of one pane.
	busy  int64
	slots uint32
	// first is when the earliest began, last when the latest ended.
	first, last int64
	top         peak
	hit         single
	estimated   bool
}

// peak is where most of the data went.
type peak struct {
	up      uint64
	addr    netip.Addr
	port    uint16
	channel channel
	name    string
}

// single is the largest connection that is an upload by itself.
type single struct {
	up, down uint64
	lasted   int64
}

func (a *peak) merge(b peak) {
	if b.up > a.up || b.up == a.up && (!a.addr.IsValid() || b.addr.IsValid() && less(b, *a)) {
		*a = b
	}
}

// less orders what is equally large, so that order of arrival decides nothing.
func less(a, b peak) bool {
	if c := a.addr.Compare(b.addr); c != 0 {
		return c < 0
	}
	if a.port != b.port {
		return a.port < b.port
	}
	if a.channel != b.channel {
		return a.channel > b.channel
	}
	return a.name > b.name
}

func (a *single) merge(b single) {
	if b.up > a.up || b.up == a.up && (b.down < a.down || b.down == a.down && b.lasted > a.lasted) {
		*a = b
	}
}

// merge adds b, which is of the same pane where slots matter.
func (a *sums) merge(b *sums) {
	a.up, a.down = a.up+b.up, a.down+b.down
	a.out, a.in, a.conns = a.out+b.out, a.in+b.in, a.conns+b.conns
	a.busy += b.busy
	a.slots |= b.slots
	a.span(b.first, b.last)
	a.top.merge(b.top)
	a.hit.merge(b.hit)
	a.estimated = a.estimated || b.estimated
}

func (a *sums) span(first, last int64) {
	if last == 0 {
		return
	}
	if a.last == 0 || first < a.first {
		a.first = first
	}
	a.last = max(a.last, last)
}

// lasts adds the duration of a connection that ended at time in the pane.
func (a *sums) lasts(pane, time, lasted int64) {
	if lasted >= slot {
		a.busy += lasted
		return
	}
	a.slots |= 1 << (max(time-pane, 0) / slot)
}

// empty reports whether nothing was added.
func (a *sums) empty() bool { return a.last == 0 }

// ratio is sent to received; what received nothing is compared with one byte.
func ratio(up, down uint64) float64 { return float64(up) / float64(max(down, 1)) }

// uses is how much of a pane its slots make up.
func (a *sums) uses() int64 { return a.busy + slot*int64(bits.OnesCount32(a.slots)) }

func (a *sums) append(dst []byte) []byte {
	for _, v := range [...]uint64{a.up, a.down, uint64(a.out), uint64(a.in), uint64(a.conns), uint64(a.slots)} {
		dst = operator.AppendUint(dst, v)
	}
	for _, v := range [...]int64{a.busy, a.first, a.last} {
		dst = operator.AppendInt(dst, v)
	}
	dst = operator.AppendBool(dst, a.estimated)
	dst = operator.AppendUint(dst, a.top.up)
	dst = operator.AppendAddr(dst, a.top.addr)
	dst = operator.AppendUint(dst, uint32(a.top.port))
	dst = operator.AppendUint(dst, a.top.channel)
	dst = operator.AppendString(dst, a.top.name)
	return a.hit.append(dst)
}

func (a *single) append(dst []byte) []byte {
	return operator.AppendInt(operator.AppendUint(operator.AppendUint(dst, a.up), a.down), a.lasted)
}

func readSingle(r *operator.Reader) single { return single{r.Uint(), r.Uint(), r.Int()} }

func (a *sums) load(r *operator.Reader) {
	a.up, a.down = r.Uint(), r.Uint()
	a.out, a.in, a.conns, a.slots = uint32(r.Uint()), uint32(r.Uint()), uint32(r.Uint()), uint32(r.Uint())
	a.busy, a.first, a.last = r.Int(), r.Int(), r.Int()
	a.estimated = r.Bool()
	a.top = peak{up: r.Uint(), addr: r.Addr(), port: uint16(r.Uint()), channel: channel(r.Uint()), name: r.String()}
	if int(a.top.channel) >= len(channelNames) {
		a.top.channel = chanOther
	}
	a.hit = readSingle(r)
}
