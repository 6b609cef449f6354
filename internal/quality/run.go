package quality

import (
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// Input is a recording with what is done to it.
type Input struct {
	Recording Recording
	Edit      Edit
	// Played says what it is, for the account of a false alarm: the name of the
	// recording, a blank, and what tells two plays of it from one another.
	Played string
	// Attack says that this is what must be found.
	Attack bool
}

// Spent is what an attack has cost until some moment.
type Spent struct {
	Queries  int    `json:"queries,omitempty"` // DNS questions
	Packets  uint64 `json:"packets,omitempty"` // of connections, or ICMP messages
	Bytes    uint64 `json:"bytes,omitempty"`   // sent by the client: payload of connections, contents of ICMP
	Received uint64 `json:"received,omitempty"`
	// Messages are the ICMP messages with contents that the client sent, Least
	// the smallest contents among them: what the tool itself puts into each.
	Messages  uint64  `json:"messages,omitempty"`
	Least     uint64  `json:"least,omitempty"`
	NameBytes uint64  `json:"name_bytes,omitempty"` // labels below the registered domain, each distinct one once
	Seconds   float64 `json:"seconds"`
}

// Finding is one thing that alerted.
type Finding struct {
	Detector string `json:"detector"`
	Subject  string `json:"subject"`
	Entity   string `json:"entity"`
	Points   string `json:"points,omitempty"`
	// Attack says that it is about the attack, Spent what that had cost.
	Attack bool  `json:"attack,omitempty"`
	Spent  Spent `json:"spent,omitzero"`
	// Account is what a false alarm of the benign hours rests on.
	Account *Account `json:"account,omitempty"`

	at  int64
	sig signal.Signal // that made the alert
}

// Outcome is what a run has shown.
type Outcome struct {
	Findings []Finding
	Total    Spent // of the attack, whole
	Rules    Rules
	Records  int
}

// Found returns the first finding about the attack by one of the detectors.
func (o *Outcome) Found(detectors ...string) *Finding {
	for i := range o.Findings {
		if f := &o.Findings[i]; f.Attack && slices.Contains(detectors, f.Detector) {
			return f
		}
	}
	return nil
}

// False returns the findings that are not about the attack.
func (o *Outcome) False() (out []Finding) {
	for _, f := range o.Findings {
		if !f.Attack {
			out = append(out, f)
		}
	}
	return out
}

// fed is one event as the chain takes it.
type fed struct {
	pipeline.Encoded

	attack bool
	played string
}

// attack knows what the attack is about and counts what it has spent.
type attack struct {
	client  string
	domains map[string]bool
	peers   map[string]bool
	names   map[string]bool // labels below a registered domain
	start   int64
	icmp    bool // messages are shown: connections tell the same again
	conns   map[string]counters
	spent   Spent
}

// counters are those of one connection, as last told.
type counters struct{ packets, sent, received uint64 }

// fresh is the attack before it began.
func (a *attack) fresh() *attack {
	if a == nil {
		return nil
	}
	return &attack{
		client: a.client, domains: a.domains, peers: a.peers, start: a.start,
		names: map[string]bool{}, conns: map[string]counters{},
	}
}

// count enters one event of the attack.
func (a *attack) count(e *event.Event) {
	s := &a.spent
	switch e.Kind {
	case event.KindDNS:
		s.Queries++
		registered := registeredDomain(e.DNS.Name)
		rest := strings.TrimSuffix(strings.TrimSuffix(e.DNS.Name, registered), ".")
		for label := range strings.SplitSeq(rest, ".") {
			if key := label + "." + registered; label != "" && !a.names[key] {
				a.names[key] = true
				s.NameBytes += uint64(plainLength(label))
			}
		}
		s.Received += e.DNS.DataBytes.Or(0)
	case event.KindICMP:
		s.Packets++
		a.icmp = true
		if e.Network.Direction != event.Inbound {
			if n := e.ICMP.Bytes.Or(0); n > 0 {
				s.Bytes += n
				if s.Messages++; s.Least == 0 || n < s.Least {
					s.Least = n
				}
			}
		} else {
			s.Received += e.ICMP.Bytes.Or(0)
		}
	case event.KindConn, event.KindFlow:
		if e.Destination.Port.Or(0) == 53 || a.icmp && strings.Contains(e.Network.Transport, "icmp") {
			return
		}
		sent, received := &e.Source, &e.Destination
		if e.Network.Direction == event.Inbound {
			sent, received = received, sent
		}
		now := counters{sent.Packets.Or(0), sent.Bytes.Or(0), received.Bytes.Or(0)}
		var was counters
		if e.Kind == event.KindConn { // snapshots hold all so far
			was = a.conns[e.ID]
			a.conns[strings.Clone(e.ID)] = now
		}
		s.Packets += now.packets - min(was.packets, now.packets)
		s.Bytes += now.sent - min(was.sent, now.sent)
		s.Received += now.received - min(was.received, now.received)
	default:
	}
}

// plainLength is the length of a label in bytes: \xNN stands for one.
func plainLength(label string) int { return len(label) - 3*strings.Count(label, `\x`) }

// registeredDomain is the registered domain of a name, by the public suffix
// list.
func registeredDomain(name string) string {
	d, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return name
	}
	return d
}

// learn notes what an event of the attack is about.
func (a *attack) learn(e *event.Event, st *site.Site) {
	if at := begins(e); a.start == 0 || at < a.start {
		a.start = at
	}
	if e.Kind == event.KindDNS {
		a.domains[registeredDomain(e.DNS.Name)] = true
	}
	for _, p := range []*event.Endpoint{&e.Source, &e.Destination} {
		if p.IP.IsValid() && !st.Internal(p.IP) {
			a.peers[p.IP.String()] = true
		}
		if p.Domain != "" {
			a.peers[p.Domain] = true
			a.domains[registeredDomain(p.Domain)] = true
		}
	}
}

// about reports whether a signal is about the attack.
func (a *attack) about(s *signal.Signal) bool {
	if a == nil || s.Entity.IP != a.client {
		return false
	}
	return a.domains[s.Subject] || a.peers[s.Subject] || s.Subject == "several domains" ||
		s.Detector != "dns-tunnel" && (a.peers[s.Destination.IP] || a.peers[s.Destination.Domain])
}

// Run feeds inputs to a chain with a site file.
func Run(siteFile []byte, client netip.Addr, inputs ...Input) (*Outcome, error) {
	st, err := site.Parse(siteFile)
	if err != nil {
		return nil, err
	}
	p, err := prepare(st, client, inputs)
	if err != nil {
		return nil, err
	}
	return p.play(siteFile, "")
}

// prepared are inputs as a chain takes them.
type prepared struct {
	feed   []fed
	attack *attack
}

// play feeds a chain that has all detectors, or one.
func (p *prepared) play(siteFile []byte, detector string) (*Outcome, error) {
	st, err := site.Parse(siteFile)
	if err != nil {
		return nil, err
	}
	feed := p.feed
	att := p.attack.fresh()
	cfg := pipeline.Config{Site: siteFile, NoShadow: true}
	if detector != "" {
		cfg.Detectors = func() []detect.Detector {
			return slices.DeleteFunc(pipeline.Detectors(), func(d detect.Detector) bool { return d.Info().ID != detector })
		}
	}
	out := &Outcome{Records: len(feed)}
	signals := map[string]*Finding{} // by signal id
	alerted := map[string]bool{}
	var order []string
	var now int64
	raise := func(id string) {
		f := signals[id]
		if f == nil || alerted[id] {
			return
		}
		alerted[id] = true
		f.at = now
		if f.Attack {
			f.Spent = att.spent
			f.Spent.Seconds = float64(now-att.start) / float64(second)
		}
		order = append(order, id)
	}
	cfg.Signals = func(value []byte) {
		var s signal.Signal
		if err := signal.Decode(value, &s); err != nil {
			return
		}
		f := signals[s.ID]
		if f == nil {
			f = &Finding{Detector: s.Detector, Subject: s.Subject, Entity: s.Entity.IP, Attack: att.about(&s)}
			signals[s.ID] = f
		}
		if !alerted[s.ID] {
			f.Points, f.sig = pointsOf(&s), s
		}
		if s.Alert {
			raise(s.ID)
		}
	}
	chain, err := pipeline.New(cfg, func(a pipeline.Alert) {
		// What is in shadow live is an alert in a hunt.
		var doc alert.Alert
		if err := alert.Decode(a.Value, &doc); err != nil {
			return
		}
		for _, s := range doc.Signals {
			if s.Alert {
				raise(s.ID)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	var e event.Event
	rules := newRuleCounts()
	for i := range feed {
		f := &feed[i]
		now = max(now, f.Available)
		if err := event.Decode(f.Value, &e); err != nil {
			return nil, err
		}
		if detector == "" {
			rules.count(&e, st)
		}
		if f.attack {
			att.count(&e)
		}
		if err := chain.Record(f.Encoded); err != nil {
			return nil, err
		}
	}
	chain.Close()
	for _, id := range order {
		out.Findings = append(out.Findings, *signals[id])
	}
	if att != nil {
		out.Total = att.spent
		out.Total.Seconds = float64(now-att.start) / float64(second)
	}
	out.Rules = rules.result()
	return out, nil
}

// pointsOf lists a signal's points.
func pointsOf(s *signal.Signal) string {
	names := make([]string, 0, len(s.Points))
	for _, p := range s.Points {
		if p.Points > 0 {
			names = append(names, p.Name)
		}
	}
	return strings.Join(names, " ")
}

// prepare edits and places all events and puts them in order.
func prepare(st *site.Site, client netip.Addr, inputs []Input) (*prepared, error) {
	var feed []fed
	var att *attack
	var place site.Placement
	var e event.Event
	for _, in := range inputs {
		if in.Attack && att == nil {
			if in.Edit.Mutation != nil {
				client = in.Edit.Mutation.address(client)
			}
			att = &attack{client: client.String(), domains: map[string]bool{}, peers: map[string]bool{}}
		}
		avail := int64(0)
		for _, item := range in.Recording {
			if err := event.Decode(item.Value, &e); err != nil {
				return nil, err
			}
			in.Edit.apply(&e)
			e.Observer.Realm = site.DefaultRealm
			st.Place(&e, &place)
			if in.Attack {
				att.learn(&e, st)
			}
			value, err := e.Append(nil)
			if err != nil {
				return nil, err
			}
			avail = max(avail, pipeline.Available(&e))
			f := fed{attack: in.Attack, played: in.Played, Encoded: pipeline.Encoded{
				Topic: pipeline.TopicOf(e.Kind.Plane()), Kind: e.Kind, Available: avail, Key: slices.Clone(place.Key), Value: value,
				Observer: event.Observer{Type: strings.Clone(e.Observer.Type), Name: strings.Clone(e.Observer.Name), Realm: site.DefaultRealm},
			}}
			if len(place.Mirror) > 0 {
				f.Mirror = slices.Clone(place.Mirror)
			}
			feed = append(feed, f)
		}
	}
	slices.SortStableFunc(feed, func(a, b fed) int {
		switch {
		case a.Available < b.Available:
			return -1
		case a.Available > b.Available:
			return 1
		}
		return 0
	})
	return &prepared{feed, att}, nil
}
