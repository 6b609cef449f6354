package dns

import (
	"math"
	"math/bits"
	"net/netip"
	"strings"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/net/publicsuffix"
)

// maxPlaces bounds the depth to which labels have a place of their own; deeper
// ones share the last.
const maxPlaces = 32

// label is one label of a question name.
type label struct {
	hash  uint64
	bytes uint8 // decoded
}

// question is a name taken apart. Its strings alias the name.
type question struct {
	domain string // registered domain; noDomain for a single label
	hash   uint64 // of the whole name
	labels []label
	bytes  int  // of the labels below the registered domain, decoded, without dots
	odd    bool // has bytes that no host name has
	// service says that a label begins with an underscore, quad that the name
	// begins with the four numbers of an IPv4 address, acme that it is an ACME
	// challenge, of which the first label is left out.
	service, quad, acme bool
	// leftmost is the first label of the name, entropy its Shannon entropy in
	// millionths of a bit per byte.
	leftmost int
	entropy  int64
}

// noDomain stands for the registered domain of names of a single label.
const noDomain = "."

// acmeLabel begins the names of ACME challenges (RFC 8555 §8.4).
const acmeLabel = "_acme-challenge"

// cuts remembers where names were divided, by the hash of the name: most
// questions were asked before, and the public suffix list is long.
type cuts [1 << 10]struct {
	hash uint64
	at   int32 // where the registered domain begins; −1 where there is none
}

// split is the function split with a memory.
func (c *cuts) split(name string, hash uint64) (data, domain string, ok bool) {
	e := &c[hash%uint64(len(c))]
	if e.hash == hash && hash != 0 {
		switch at := int(e.at); {
		case at < 0:
			return "", "", false
		case at == 0:
			return "", name, true
		case at < len(name):
			return name[:at-1], name[at:], true
		}
	}
	data, domain, ok = split(name)
	if domain == noDomain {
		return data, domain, ok
	}
	e.hash, e.at = hash, -1
	if ok {
		e.at = int32(len(name) - len(domain))
	}
	return data, domain, ok
}

// texts shares domains between clients: most ask for the same ones.
type texts struct{ slots [1 << 12]string }

// keep returns a string that may be kept.
func (t *texts) keep(s string) string {
	at := &t.slots[xxhash.Sum64String(s)%uint64(len(t.slots))]
	if *at != s {
		*at = strings.Clone(s)
	}
	return *at
}

// parse takes a name apart. It is false for a name that is a public suffix
// itself and carries nothing.
func (q *question) parse(name string, known *cuts) bool {
	name = strings.TrimRight(name, ".")
	*q = question{labels: q.labels[:0], hash: xxhash.Sum64String(name)}
	data, domain, ok := known.split(name, q.hash)
	if !ok {
		return false
	}
	q.domain = domain
	first := true
	for rest := data; rest != ""; first = false {
		text := rest
		if dot := strings.IndexByte(rest, '.'); dot >= 0 {
			text, rest = rest[:dot], rest[dot+1:]
		} else {
			rest = ""
		}
		n := q.read(text)
		if first {
			q.leftmost, q.entropy = n, entropy(text)
			if text == acmeLabel {
				q.acme = true
				continue
			}
		}
		q.bytes += n
		if len(q.labels) < 128 { // no name has more
			q.labels = append(q.labels, label{xxhash.Sum64String(text), uint8(min(n, 255))})
		}
	}
	q.quad = startsWithAddress(data)
	return true
}

// read returns the length of a label in bytes and notes what is odd about it.
// Bytes outside printable ASCII stand as \xNN (event.DNS.Name).
func (q *question) read(text string) (n int) {
	q.service = q.service || text != "" && text[0] == '_'
	for i := 0; i < len(text); i, n = i+1, n+1 {
		c := text[i]
		switch {
		case c-'a' <= 'z'-'a', c-'0' <= 9, c == '-', c == '_', c-'A' <= 'Z'-'A':
		case c == '\\' && i+3 < len(text) && text[i+1] == 'x':
			q.odd = true
			i += 3
		default:
			q.odd = true
		}
	}
	return n
}

// split divides a name into the data and the registered domain below which it
// stands: one label more than its public suffix (publicsuffix.org, the private
// section too). A name whose top label is no public suffix counts as if it
// were one. Reverse names of IPv6 count under the 32 bits that a network has
// at the least, since nobody owns a nibble.
func split(name string) (data, domain string, ok bool) {
	if name == "" || name == "." {
		return "", "", false
	}
	if strings.HasSuffix(name, reverse6) {
		if data, domain, ok := splitReverse6(name); ok {
			return data, domain, true
		}
	}
	suffix, _ := publicsuffix.PublicSuffix(name)
	if len(suffix) == len(name) {
		if strings.IndexByte(name, '.') >= 0 {
			return "", "", false
		}
		return name, noDomain, true
	}
	cut := len(name) - len(suffix) - 1
	dot := strings.LastIndexByte(name[:cut], '.')
	if dot < 0 {
		return "", name, true
	}
	return name[:dot], name[dot+1:], true
}

const (
	reverse4 = ".in-addr.arpa"
	reverse6 = ".ip6.arpa"
)

// splitReverse6 cuts at the eighth nibble from the end, or where the nibbles
// end.
func splitReverse6(name string) (data, domain string, ok bool) {
	at := len(name) - len(reverse6)
	for n := 0; n < 8 && at >= 1 && isHex(name[at-1]) && (at == 1 || name[at-2] == '.'); n++ {
		if at == 1 {
			return "", name, true
		}
		at -= 2
	}
	if at == len(name)-len(reverse6) {
		return "", "", false
	}
	return name[:at], name[at+1:], true
}

func isHex(c byte) bool { return c-'0' <= 9 || c-'a' <= 5 }

// reverseAddress returns the address that a well-formed reverse name asks for.
func reverseAddress(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, reverse4); ok {
		var a [4]byte
		n := octets(rest, a[:])
		return netip.AddrFrom4([4]byte{a[3], a[2], a[1], a[0]}), n == 4
	}
	rest, ok := strings.CutSuffix(name, reverse6)
	if !ok || len(rest) != 63 {
		return netip.Addr{}, false
	}
	var a [16]byte
	for i := range 32 {
		c := rest[2*i]
		if !isHex(c) || i < 31 && rest[2*i+1] != '.' {
			return netip.Addr{}, false
		}
		v := c - '0'
		if c >= 'a' {
			v = c - 'a' + 10
		}
		a[15-i/2] |= v << (4 * (i % 2))
	}
	return netip.AddrFrom16(a), true
}

// reverse4Zone reports whether a name is a well-formed reverse name of IPv4: of
// an address, or of the zones above it, which resolvers ask for.
func reverse4Zone(name string) bool {
	rest, ok := strings.CutSuffix(name, reverse4)
	var a [4]byte
	return ok && octets(rest, a[:]) > 0
}

// octets reads up to four decimal numbers with dots between them and returns
// how many, 0 if there is anything else.
func octets(s string, into []byte) int {
	n, v, digits := 0, 0, 0
	for i := 0; ; i++ {
		if i == len(s) || s[i] == '.' {
			if digits == 0 || v > 255 || n == len(into) {
				return 0
			}
			into[n] = byte(v)
			n++
			if i == len(s) {
				return n
			}
			v, digits = 0, 0
			continue
		}
		if s[i]-'0' > 9 || digits == 3 {
			return 0
		}
		v, digits = v*10+int(s[i]-'0'), digits+1
	}
}

// startsWithAddress reports whether a name begins with four numbers of one to
// three digits, as look-ups of an address in a list do.
func startsWithAddress(data string) bool {
	dots := 0
	for i := range len(data) {
		if data[i] == '.' {
			if dots++; dots == 4 {
				var a [4]byte
				return octets(data[:i], a[:]) == 4
			}
		} else if data[i]-'0' > 9 {
			return false
		}
	}
	var a [4]byte
	return dots == 3 && octets(data, a[:]) == 4
}

// entropyOf[n] is n·log2(n) in millionths of a bit.
var entropyOf = func() (t [256]int64) {
	for n := 2; n < len(t); n++ {
		t[n] = int64(math.Round(float64(n) * math.Log2(float64(n)) * 1e6))
	}
	return t
}()

// entropy returns the Shannon entropy of a label's bytes, in millionths of a
// bit per byte. It is an integer so that sums do not depend on their order.
func entropy(text string) int64 {
	if len(text) > 255 {
		text = text[:255]
	}
	if text == "" {
		return 0
	}
	var count [256]uint8
	for i := range len(text) {
		count[text[i]]++
	}
	sum := entropyOf[len(text)]
	for i := range len(text) {
		c := text[i]
		sum -= entropyOf[count[c]]
		count[c] = 0
	}
	return sum / int64(len(text))
}

// log2 returns the binary logarithm of n in 256ths, between powers of two on
// the straight line (at most 0.09 below the truth): in integers, so that every
// machine has the same.
func log2(n uint64) uint64 {
	if n < 2 {
		return 0
	}
	k := bits.Len64(n) - 1
	return uint64(k)<<8 + (n<<8)>>k - 256
}
