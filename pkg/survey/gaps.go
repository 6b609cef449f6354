package survey

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Need is what a detector reads.
type Need struct {
	Detector string
	Kinds    []event.Kind
	Off      bool // the site has switched it off
}

// Sight says how much a detector can see.
type Sight string

// The grades.
const (
	Blind Sight = "blind" // none of its records are there
	Part  Sight = "part"  // what it reads is there, and lacks something
	Clear Sight = "clear"
	Off   Sight = "off"
)

// Gap is what one detector lacks.
type Gap struct {
	Detector string   `json:"detector"`
	Sight    Sight    `json:"sight"`
	Reads    []string `json:"reads,omitempty"`   // of what is there: "zeek dns (12003)"
	Missing  []string `json:"missing,omitempty"` // what to do, most important first
}

// feeds say which source gives a kind of record.
var feeds = map[event.Kind]string{
	event.KindFlow:       "VPC or GCP flow logs (ingest-flow)",
	event.KindConn:       "Zeek conn.log or packets (ingest-zeek, ingest-packet)",
	event.KindDNS:        "Zeek dns.log, packets, or resolver query logs (ingest-zeek, ingest-packet, ingest-flow)",
	event.KindICMP:       "packets, or Zeek with deploy/zeek/ebbwatch.zeek (ingest-packet, ingest-zeek)",
	event.KindTLS:        "Zeek ssl.log and quic.log, or packets (ingest-zeek, ingest-packet)",
	event.KindHTTP:       "Zeek http.log (ingest-zeek)",
	event.KindMail:       "Zeek smtp.log (ingest-zeek)",
	event.KindTransfer:   "Zeek files.log (ingest-zeek)",
	event.KindWeird:      "Zeek weird.log (ingest-zeek)",
	event.KindHealth:     "Zeek stats.log and capture_loss.log, Falco's reports of drops",
	event.KindProcess:    "Falco with deploy/falco/ebbwatch_rules.yaml (ingest-falco)",
	event.KindFile:       "Falco with deploy/falco/ebbwatch_rules.yaml (ingest-falco)",
	event.KindDevice:     "Falco with deploy/falco/ebbwatch_rules.yaml (ingest-falco)",
	event.KindObject:     "CloudTrail data events of S3, or Data Access audit logs of Google Cloud",
	event.KindShare:      "CloudTrail management events, or Admin Activity audit logs of Google Cloud",
	event.KindManagement: "CloudTrail management events, or Admin Activity audit logs of Google Cloud",
	event.KindFinding:    "findings of the Security Command Center",
}

// instead are the kinds that tell the same, so that one of them suffices.
var instead = map[event.Kind]event.Kind{
	event.KindFlow: event.KindConn, event.KindConn: event.KindFlow, event.KindHTTP: event.KindTLS, event.KindProcess: event.KindFile, event.KindFile: event.KindProcess,
}

// lacks are what records should hold; few is the part of them that must.
var lacks = []struct {
	kind event.Kind
	of   string // Observer.Type; "" is any
	f    field
	few  float64
	text string
}{
	{event.KindFlow, "vpcflow", hasDirection, 0.99, "flow logs have no flow-direction: what leaves and what enters an interface cannot be told apart at gateways; add the field to the log format"},
	{event.KindFlow, "vpcflow", hasInstance, 0.05, "flow logs have no instance-id: alerts cannot name the machine; add the field to the log format"},
	{event.KindDNS, "", hasSizes, 0.5, "DNS records have no sizes: tunnels in answers are seen by their names only; load deploy/zeek/ebbwatch.zeek"},
	{event.KindDNS, "", hasAnswers, 0.1, "DNS records have no answers: whether a name was ever contacted is not known"},
	{event.KindICMP, "", hasContent, 0.5, "pings have no content: icmp-tunnel sees sizes only; capture whole packets"},
	{event.KindTLS, "", hasName, 0.3, "TLS records have no server names: destinations are addresses only"},
	{event.KindTLS, "", hasHello, 0.3, "TLS records have no JA3 or JA4: a new client program is not seen; load Zeek's ja4 package"},
	{event.KindObject, "cloudtrail", hasBytesOut, 0.05, "object reads have no bytes"},
	{event.KindProcess, "falco", hasParent, 0.5, "host events have no parents: add %proc.pname to the rules' output, or load deploy/falco/ebbwatch_rules.yaml"},
	{event.KindProcess, "falco", hasCwd, 0.3, "host events have no working directory: relative paths cannot be resolved; load deploy/falco/ebbwatch_rules.yaml"},
}

// Gaps says of each detector what it can see, in the order of the needs.
func (s *Survey) Gaps(needs []Need) []Gap {
	var out []Gap
	for _, n := range needs {
		g := Gap{Detector: n.Detector, Sight: Clear}
		if n.Off {
			g.Sight = Off
			out = append(out, g)
			continue
		}
		for _, k := range n.Kinds {
			there := s.reads(k)
			g.Reads = append(g.Reads, there...)
			if other, ok := instead[k]; len(there) == 0 && (!ok || !slices.Contains(n.Kinds, other) || len(s.reads(other)) == 0) {
				g.Missing = append(g.Missing, fmt.Sprintf("no %s records: feed %s", k, feeds[k]))
			}
			g.Missing = append(g.Missing, s.lacking(k)...)
		}
		switch {
		case len(g.Reads) == 0:
			g.Sight = Blind
		case len(g.Missing) > 0:
			g.Sight = Part
		}
		out = append(out, g)
	}
	return out
}

// reads lists the sources of a kind, by name.
func (s *Survey) reads(k event.Kind) (list []string) {
	for _, key := range s.keys() {
		if key.kind == k {
			list = append(list, fmt.Sprintf("%s %s (%d)", key.observer, k, s.sources[key].events))
		}
	}
	return list
}

func (s *Survey) keys() []sourceKey {
	keys := make([]sourceKey, 0, len(s.sources))
	for k := range s.sources {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b sourceKey) int {
		return cmp.Or(strings.Compare(a.observer, b.observer), cmp.Compare(a.kind, b.kind))
	})
	return keys
}

func (s *Survey) lacking(k event.Kind) (list []string) {
	for _, l := range lacks {
		if l.kind != k {
			continue
		}
		var with, events uint64
		for key, src := range s.sources {
			if key.kind == k && (l.of == "" || key.observer == l.of) {
				with += src.with[l.f]
				events += src.events
			}
		}
		if events > 0 && float64(with) < l.few*float64(events) {
			list = append(list, fmt.Sprintf("%s (%d of %d have it)", l.text, with, events))
		}
	}
	return list
}

// Note is something about the sources as a whole.
type Note struct {
	Source string `json:"source"`
	Text   string `json:"text"`
}

// futureShare is the part of events ahead of their arrival that tells of a wrong
// clock; lossPercent is from when a sensor's loss hides tunnels.
const (
	futureShare = 0.01
	lossPercent = 1.0
)

// Notes says what is odd about the sources.
func (s *Survey) Notes() (list []Note) {
	note := func(source, format string, args ...any) {
		list = append(list, Note{source, fmt.Sprintf(format, args...)})
	}
	open := map[string]bool{}
	conns := map[string]bool{}
	for _, key := range s.keys() {
		src := s.sources[key]
		name := fmt.Sprintf("%s %s", key.observer, key.kind)
		if float64(src.future) > futureShare*float64(src.events) {
			note(name, "%d of %d events are more than 10 minutes ahead of their arrival: a clock is wrong", src.future, src.events)
		}
		if src.lost >= lossPercent {
			note(name, "a sensor lost %.1f %% of what it should have seen", src.lost)
		}
		if key.kind == event.KindConn {
			conns[key.observer] = true
			open[key.observer] = open[key.observer] || src.open > 0
		}
		if key.kind == event.KindDNS && len(src.clients) == 1 && src.events >= 1000 {
			note(name, "all questions come from one client: the sensor stands behind a resolver, and clients cannot be told apart; feed the resolver's own query log")
		}
		if late := time.Duration(s.Last-src.latest) * time.Microsecond; key.kind != event.KindHealth && late > time.Hour && src.latest > 0 && s.Last-s.First < int64(30*24*time.Hour/time.Microsecond) {
			note(name, "the newest record is %s older than those of other sources", late.Round(time.Minute))
		}
	}
	for _, observer := range slices.Sorted(maps.Keys(conns)) {
		if observer == "zeek" && !open[observer] {
			note(observer+" conn", "open connections are not reported: a transfer is seen when it ends, which may be hours late; load the package zeek-open-connections or long-connections")
		}
	}
	if s.foreign >= minForeign && float64(s.foreign) > 0.5*float64(s.networkEvents()) {
		note("site", "%d of %d network events are between addresses that are not home: home_networks is missing something (ebbwatch site suggest)", s.foreign, s.networkEvents())
	}
	if !s.site.HasResolvers() && len(s.resolvers()) > 0 {
		note("site", "no resolvers are declared, and there are %d: questions of clients and of resolvers are mixed (ebbwatch site suggest)", len(s.resolvers()))
	}
	for _, p := range s.aggregators() {
		note("site", "%s behaves like many clients and is not declared under aggregators: %s", p.value, p.why)
	}
	return list
}

func (s *Survey) networkEvents() (n uint64) {
	for key, src := range s.sources {
		if key.kind.Plane() == event.PlaneNetwork && key.kind != event.KindHealth {
			n += src.events
		}
	}
	return n
}
