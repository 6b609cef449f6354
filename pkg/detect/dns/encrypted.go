package dns

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// EncryptedID is the id of the detector of encrypted DNS.
const EncryptedID = "encrypted-dns"

const (
	thVolume      = "upload_bytes"
	thBalance     = "balance"
	thBalanceMin  = "balance_bytes"
	thRate        = "sustained_rate"
	thRateSeconds = "sustained_seconds"
	thRegular     = "regular_connections"
)

var encryptedThresholds = []detect.Threshold{
	{Name: thVolume, Default: 64 << 10, Unit: "bytes", Doc: "sent to one resolver in an hour, for 1 point"},
	{Name: thBalance, Default: 0.8, Unit: "ratio", Doc: "sent over received, for 2 points: answers outweigh questions in ordinary DNS"},
	{Name: thBalanceMin, Default: 32 << 10, Unit: "bytes", Doc: "sent, from which the ratio counts"},
	{Name: thRate, Default: 1024, Unit: "bytes per second", Doc: "sent over the length of one connection, for 1 point"},
	{Name: thRateSeconds, Default: 30, Unit: "seconds", Doc: "length of a connection from which the rate counts"},
	{Name: thRegular, Default: 20, Unit: "connections", Doc: "begun at regular intervals, for 1 point"},
}

// Encrypted is the detector encrypted-dns.
type Encrypted struct {
	byAddress bart.Table[int] // index into publicResolvers
	byName    map[string]int
	limits    encryptedLimits
}

type encryptedLimits struct {
	volume, balance, balanceMin, rate, seconds, regular float64
}

// NewEncrypted returns the detector.
func NewEncrypted() detect.Detector {
	d := &Encrypted{byName: map[string]int{}}
	for i := range publicResolvers {
		r := &publicResolvers[i]
		for _, p := range r.prefixes() {
			d.byAddress.Insert(p, i)
		}
		for _, n := range r.domains {
			d.byName[n] = i
		}
	}
	d.Configure(site.Default())
	return d
}

// Info implements detect.Detector.
func (d *Encrypted) Info() detect.Info {
	return detect.Info{
		ID: EncryptedID, Role: signal.RoleExfil,
		Kinds:     []event.Kind{event.KindConn, event.KindFlow, event.KindTLS, event.KindHTTP},
		Default:   site.Setting{Mode: signal.ModeAlert, Floor: 1, Alert: 2},
		Alone:     true,
		Technique: []string{"T1572", "T1071.004"}, Thresholds: encryptedThresholds,
	}
}

// Configure implements detect.Detector.
func (d *Encrypted) Configure(s *site.Site) {
	at := make([]float64, len(encryptedThresholds))
	for i, t := range encryptedThresholds {
		at[i] = s.Threshold(EncryptedID, t.Name, t.Default)
	}
	d.limits = encryptedLimits{volume: at[0], balance: at[1], balanceMin: at[2], rate: at[3], seconds: at[4], regular: at[5]}
}

// New implements detect.Detector.
func (d *Encrypted) New() detect.State { return &encryptedState{of: d} }

// Wants implements detect.Lazy: a state begins with a resolver that is
// recognised.
func (d *Encrypted) Wants(e *event.Event, _ *detect.Env) bool {
	if e.Network.Direction == event.Inbound || e.Role == event.RoleMirror {
		return false
	}
	_, p := d.recognise(e)
	return p != 0
}

// proof is what shows that a server is a resolver.
type proof uint8

const (
	byList proof = 1 << iota // its address or name is in publicResolvers
	byPort                   // port 853 (RFC 7858, RFC 9250)
	byALPN                   // the protocol that the client asked for
	byName                   // its name, or the path that is asked for
)

// certain are the proofs that suffice.
const certain = byList | byPort | byALPN

// recognise tells whether an event goes to a resolver, what the resolver is
// called and what proves it. name and path may be empty.
func (d *Encrypted) recognise(e *event.Event) (subject string, p proof) {
	port := e.Destination.Port.Or(0)
	name := e.Destination.Domain
	if port == 853 {
		p |= byPort
	}
	if e.TLS.ALPN == "dot" || e.TLS.ALPN == "doq" {
		p |= byALPN
	}
	if port == 443 || port == 853 {
		i, listed := d.byAddress.Lookup(e.Destination.IP.Unmap())
		if !listed {
			i, listed = d.named(name)
		}
		if listed {
			return publicResolvers[i].name, p | byList
		}
	}
	if speaksDNS(name) || strings.HasPrefix(e.HTTP.URL, "/dns-query") {
		p |= byName
	}
	return "", p
}

// named finds a name, or one above it, in the list.
func (d *Encrypted) named(name string) (int, bool) {
	for name != "" {
		if i, ok := d.byName[name]; ok {
			return i, true
		}
		dot := strings.IndexByte(name, '.')
		if dot < 0 {
			break
		}
		name = name[dot+1:]
	}
	return 0, false
}

// speaksDNS reports whether a name calls itself a resolver.
func speaksDNS(name string) bool {
	first, rest, ok := strings.Cut(name, ".")
	if !ok || !strings.Contains(rest, ".") && len(first) > 4 {
		return false
	}
	for _, word := range [...]string{"doh", "dot", "doq", "dns-over-https"} {
		if first == word || strings.HasPrefix(first, word+"-") || strings.HasSuffix(first, "-"+word) {
			return true
		}
	}
	return false
}

// talk is what one client exchanged with one resolver in an hour.
type talk struct {
	proof       proof
	connections uint32
	up, down    uint64
	layer       string // of up and down
	rate        uint64 // the highest of a long connection, bytes per second
	// begun and greeted judge the beginnings of connections, by two sources
	// of which either may be out of order or missing.
	begun, greeted intervals
	hellos         uint32
	first, last    int64
	server         netip.Addr
	port           uint64
	name           string // as the client called it
	points         encryptedPoints
	best           uint32
	emissions      uint32
	evidence       []signal.Evidence
}

// intervals judges how regular the beginnings of connections are.
type intervals struct {
	last     int64 // microseconds
	n        uint64
	sum, sqs uint64 // of milliseconds, and of their squares
}

// maxInterval is the longest interval that counts: a pause is no irregularity.
const maxInterval = 10 * 60 * 1000

func (i *intervals) add(start int64) {
	if i.last != 0 && start > i.last {
		if ms := uint64((start - i.last) / 1000); ms <= maxInterval {
			i.n++
			i.sum += ms
			i.sqs += ms * ms
		}
	}
	i.last = max(i.last, start)
}

// regular reports whether at least n intervals vary by less than a quarter of
// their mean (standard deviation).
func (i *intervals) regular(n float64) bool {
	if float64(i.n) < n || i.sum == 0 {
		return false
	}
	mean := float64(i.sum) / float64(i.n)
	variance := float64(i.sqs)/float64(i.n) - mean*mean
	return variance < mean*mean/16
}

// encryptedPoints are the points of the signs, in the order of their names.
type encryptedPoints [5]uint8

func (p encryptedPoints) score() (sum uint32) {
	for _, n := range p {
		sum += uint32(n)
	}
	return sum
}

func (x *talk) judge(l *encryptedLimits) (p encryptedPoints) {
	switch {
	case x.proof&certain != 0:
		p[0] = 2
	case x.proof != 0:
		p[0] = 1
	}
	up, down := float64(x.up), float64(x.down)
	if up >= l.volume {
		p[1] = 1
	}
	if up >= l.balanceMin && up >= l.balance*down {
		p[2] = 2
	}
	if float64(x.rate) >= l.rate {
		p[3] = 1
	}
	if x.begun.regular(l.regular) || x.greeted.regular(l.regular) {
		p[4] = 1
	}
	return p
}

func (x *talk) list(l *encryptedLimits) (out []signal.Point) {
	p := x.points
	for i, pt := range [...]signal.Point{
		{Name: "encrypted_dns", Value: float64(max(x.connections, x.hellos)), Threshold: 1},
		{Name: "upload", Value: float64(x.up), Threshold: l.volume},
		{Name: "upload_balance", Value: float64(x.up) / float64(max(x.down, 1)), Threshold: l.balance},
		{Name: "sustained_rate", Value: float64(x.rate), Threshold: l.rate},
		{Name: "regular_connections", Value: float64(max(x.begun.n, x.greeted.n) + 1), Threshold: l.regular},
	} {
		if p[i] > 0 {
			pt.Points = float64(p[i])
			out = append(out, pt)
		}
	}
	return out
}

// how says in words what proves it.
func (p proof) how() string {
	switch {
	case p&byList != 0:
		return "a known public resolver"
	case p&byALPN != 0:
		return "a server spoken to in a DNS protocol"
	case p&byPort != 0:
		return "a server on the port of DNS over TLS"
	}
	return "a server that calls itself a resolver"
}

// exempt reports whether the site lets the client do that.
func (d *Encrypted) exempt(e *event.Event, s *site.Site) bool {
	src, dst := e.Source.IP, e.Destination.IP
	if s.Internal(dst) || s.Resolver(src, e.Time) || s.Resolver(dst, e.Time) || s.OwnDomain(e.Destination.Domain, e.Time) {
		return true
	}
	_, ok := s.Sanctioned(e.Destination.Domain, dst, src, "", e.Time)
	return ok
}

func (s *encryptedState) send(v *detect.View[encryptedView], h *detect.Hour[talk], env *detect.Env) {
	x, w := &h.Value, &v.Value
	score := x.points.score()
	x.emissions++
	x.best = max(x.best, score)
	source, _, _ := strings.Cut(v.Observer, "/")
	sig := &signal.Signal{
		ID:      signal.ID(EncryptedID, env.Key, h.Subject, v.Observer, strconv.FormatInt(h.Start, 10)),
		Channel: "dns", Start: h.Start, End: h.End, First: x.first, Time: x.last, Subject: h.Subject,
		Score: float64(score), Points: x.list(&s.of.limits),
		Entity:      detect.AddressEntity(w.realm, w.client),
		Source:      signal.Endpoint{IP: w.client.String()},
		Destination: signal.Endpoint{IP: x.server.String(), Port: x.port, Domain: x.name},
		Values: []signal.Value{
			{Name: "connections", Value: float64(x.connections)},
			{Name: "hellos", Value: float64(x.hellos)},
			{Name: "bytes_received", Value: float64(x.down)},
		},
		Evidence: x.evidence, Observers: []string{source}, Complete: complete(v.Observer, h.End, env),
	}
	if x.layer != "" {
		sig.Bytes, sig.Layer = new(x.up), x.layer
	}
	sig.Severity, sig.Confidence = gradeEncrypted(score)
	known := ""
	if !env.Site.HasResolvers() {
		sig.Confidence = "low"
		known = "; the site declares no resolvers, so whether this is allowed is not known"
	}
	sig.Reason = fmt.Sprintf("%s spoke to %s, %s, in %d connections and sent it %d bytes: %s%s",
		w.client, h.Subject, x.proof.how(), max(x.connections, x.hellos), x.up, listPoints(sig.Points), known)
	env.Emit(sig, site.Subject{Address: w.client, Domain: x.name})
}

// gradeEncrypted makes a breach of policy a low alert, and one that looks like
// a tunnel a high one.
func gradeEncrypted(score uint32) (severity, confidence string) {
	switch {
	case score < 2:
		return signal.Low, "low"
	case score < 4:
		return signal.Low, "medium"
	case score < 6:
		return signal.Medium, "medium"
	}
	return signal.High, "medium"
}
