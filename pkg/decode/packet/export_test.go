package packet

// Held is what a Tracker keeps: flows, transactions, datagrams, hellos, and
// the bytes taken from its budget.
func (t *Tracker) Held() (flows, transactions, datagrams, hellos, buffered int) {
	for h := t.oldestHello; h != nil; h = h.next {
		hellos++
	}
	return len(t.flows), t.held, len(t.datagrams), hellos, t.cfg.MaxBuffered - t.budget.left
}

// ParseDNS parses a message and returns what the event would say of its
// questions and answers.
func ParseDNS(msg []byte, size int) (verdict string, names []string, answers, data int) {
	var m message
	switch m.parse(msg, size) {
	case isDNS:
		verdict = "dns"
	case notDNS:
		return "not", nil, 0, 0
	case cutDNS:
		return "cut", nil, 0, 0
	}
	for _, q := range m.questions {
		names = append(names, string(appendNameText(nil, q.name)))
	}
	return verdict, names, m.answers, m.dataBytes
}

// Fingerprint returns JA3 and JA4 of the body of a client hello.
func Fingerprint(body []byte, quic bool) (ja3, ja4 string, ok bool) {
	var c hello
	ok = c.parse(body)
	return c.ja3(), c.ja4(quic), ok
}

// Timestamp is timestamp.
func Timestamp(data []byte, ts int64) int { return timestamp(data, ts) }

// Assembly is assembly, for its property test.
type Assembly struct {
	a assembly
	b budget
}

// NewAssembly has room for n bytes.
func NewAssembly(n int) *Assembly { return &Assembly{b: budget{n}} }

// Put, Prefix, Drop and Release are those of assembly.
func (a *Assembly) Put(off int, data []byte, limit int) bool { return a.a.put(off, data, limit, &a.b) }

// Prefix is what is filled from the beginning.
func (a *Assembly) Prefix() []byte { return a.a.prefix() }

// Drop removes from the front.
func (a *Assembly) Drop(n int) { a.a.drop(n) }

// Release gives back and returns what is left of the budget.
func (a *Assembly) Release() int { a.a.release(&a.b); return a.b.left }

// Bounds of the package, for tests at them.
const (
	MaxHello     = maxHello
	MaxCapture   = maxCapture
	MaxDNSStream = maxDNSStream
)
