package alert

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/segmentio/encoding/json"
)

// ErrFormat reports bytes that are no alert document.
var ErrFormat = errors.New("not an alert document")

// ecsVersion is the version of the schema that the documents follow.
const ecsVersion = "9.0.0"

// appendFlags: the records were found valid before they went in.
const appendFlags = json.SortMapKeys | json.TrustRawMessage

// severityValues are event.severity, as Elastic's own rules use them.
var severityValues = [5]int{0, 21, 47, 73, 99}

// limits is how much of everything a document may hold; see levels.
type limits struct {
	text, name       int // bytes of prose, of a name
	list, points     int // entries
	signals, rolled  int
	evidence         int
	records, related bool
}

// levels are tried until a document fits: each gives up what is least missed.
// The last one fits whatever the alert holds.
var levels = [...]limits{
	{text: 512, name: 256, list: 16, points: 40, signals: 20, rolled: 40, evidence: MaxEvidence, records: true, related: true},
	{text: 512, name: 256, list: 8, points: 30, signals: 12, rolled: 24, evidence: MaxEvidence, related: true},
	{text: 300, name: 128, list: 6, points: 20, signals: 8, rolled: 12, evidence: 5, related: true},
	{text: 200, name: 64, list: 3, points: 12, signals: 4, rolled: 6, evidence: 3},
	{text: 100, name: 32, list: 1, points: 8, signals: 2, rolled: 2, evidence: 1},
}

// Append appends the ECS document, at most MaxBytes long.
func (a *Alert) Append(dst []byte) ([]byte, error) {
	from := len(dst)
	for i := range levels {
		d := a.document(&levels[i])
		out, err := json.Append(dst, d, appendFlags)
		if err != nil {
			return dst[:from], fmt.Errorf("encode alert: %w", err)
		}
		if excess := len(out) - from - MaxBytes; excess > 0 && levels[i].records && d.dropRecords(excess) {
			if out, err = json.Append(dst[:from], d, appendFlags); err != nil {
				return dst[:from], fmt.Errorf("encode alert: %w", err)
			}
		}
		if len(out)-from <= MaxBytes {
			return out, nil
		}
		dst = out[:from]
	}
	return dst[:from], fmt.Errorf("encode alert: %w: longer than %d bytes", ErrFormat, MaxBytes)
}

// dropRecords leaves out the largest evidence records, the later of equals
// first, until excess bytes are saved, and reports whether that is enough.
func (d *document) dropRecords(excess int) bool {
	if !d.Ebbwatch.Trimmed {
		d.Ebbwatch.Trimmed = true
		excess += len(`"evidence_trimmed":true,`)
	}
	for excess > 0 {
		largest := -1
		for i, e := range d.Ebbwatch.Evidence {
			if len(e.Record) > 0 && (largest < 0 || len(e.Record) >= len(d.Ebbwatch.Evidence[largest].Record)) {
				largest = i
			}
		}
		if largest < 0 {
			return false
		}
		excess -= len(d.Ebbwatch.Evidence[largest].Record) + len(`,"record":`)
		d.Ebbwatch.Evidence[largest].Record = nil
	}
	return true
}

func (a *Alert) document(l *limits) *document {
	r, known := rules[a.Detector]
	if !known {
		r = rule{name: clip(a.Detector, l.name), category: "intrusion_detection", typ: "info"}
	}
	categories := []string{"intrusion_detection"}
	if r.category != categories[0] {
		categories = append(categories, r.category)
	}
	reason := clip(a.Reason, l.text)
	id := clip(a.ID, 64)
	detector := clip(a.Detector, 64)
	d := &document{
		Timestamp: isoAlways(a.Time), ECS: docECS{ecsVersion}, Message: clip(a.Line(), l.text),
		Event: docEvent{
			Kind: "alert", Category: categories, Type: typesOf(r.typ), ID: id, Module: "ebbwatch", Dataset: "ebbwatch.alert",
			Severity: severityValues[SeverityRank(a.Severity)], RiskScore: max(0, min(100, a.Risk)),
			Start: isoAlways(a.First), End: isoAlways(a.Time), Duration: max(0, min(a.Time/1000-a.First/1000, math.MaxInt64/1_000_000)) * 1_000_000,
			Created: iso(a.Created), Reason: reason,
		},
		Rule: docRule{ID: detector, Name: r.name, Category: r.category, Ruleset: "ebbwatch", Reference: "docs/detections/" + detector + ".md"},
		Ebbwatch: docOwn{
			V: Version, ID: id, Revision: a.Revision, Status: Status(clip(string(a.Status), 16)), Notify: Notify(clip(string(a.Notify), 16)), Detector: detector,
			Entity: a.Entity.clip(l), Severity: clip(a.Severity, 16), Confidence: clip(a.Confidence, 16), Classification: clip(a.Classification, 32),
			Reason: reason, Channel: clip(a.Channel, l.name), Subject: clip(a.Subject, l.name), Layer: clip(a.Layer, 32),
			Technique: clipAll(a.Technique, 16, 10), Points: points(a.Points, l), Window: docSpan{isoAlways(a.Window.Start), isoAlways(a.Window.End)},
			Joined: a.Joined.document(l), Signals: []Signal{}, SignalsTotal: max(a.SignalsTotal, len(a.Signals)),
			Evidence: []docEvidence{}, Trimmed: a.EvidenceTrimmed, Completeness: complete(a.Completeness),
			Action: clip(a.Action, l.text), SupersededBy: clip(a.SupersededBy, 64),
		},
	}
	d.signals(a, l)
	d.evidence(a, l)
	d.Threat = threat(d.Ebbwatch.Technique)
	d.endpoints(a, l)
	d.who(&d.Ebbwatch.Entity)
	if l.related {
		d.related(a)
	}
	if v := a.Verdict; v != nil {
		d.Ebbwatch.Verdict = &docVerdict{clip(v.Verdict, 32), clip(v.By, l.name), clip(v.Why, l.text), iso(v.Time)}
	}
	if a.RollupTotal > 0 || len(a.Rollup) > 0 {
		d.Ebbwatch.Rollup = &docRollup{Alerts: []Rolled{}, Total: max(a.RollupTotal, len(a.Rollup))}
		for _, x := range a.Rollup[:min(len(a.Rollup), l.rolled)] {
			d.Ebbwatch.Rollup.Alerts = append(d.Ebbwatch.Rollup.Alerts, Rolled{clip(x.ID, 64), clip(x.Entity, 64), clip(x.Severity, 16), clip(x.Reason, min(l.name, 96))})
		}
	}
	return d
}

func typesOf(t string) []string {
	if t == "info" {
		return []string{"info"}
	}
	return []string{"info", t}
}

func (d *document) signals(a *Alert, l *limits) {
	for _, s := range a.Signals[:min(len(a.Signals), l.signals)] {
		d.Ebbwatch.Signals = append(d.Ebbwatch.Signals, Signal{clip(s.ID, 64), clip(s.Detector, 64), clip(s.Role, 16), number(s.Score), s.Alert})
	}
}

func (d *document) evidence(a *Alert, l *limits) {
	n := min(len(a.Evidence), l.evidence)
	d.Ebbwatch.Trimmed = d.Ebbwatch.Trimmed || n < len(a.Evidence)
	for _, e := range a.Evidence[:n] {
		out := docEvidence{Topic: clip(e.Topic, 64), Partition: e.Partition, Offset: e.Offset, File: clip(e.Name, l.name), Line: e.Line}
		if e.At >= 0 {
			out.At = &e.At
		}
		switch {
		case len(e.Record) == 0 || string(e.Record) == "null":
		case l.records && len(e.Record) < MaxBytes && utf8.Valid(e.Record) && json.Valid(e.Record):
			out.Record = oneLine(e.Record)
		default:
			d.Ebbwatch.Trimmed = true
		}
		d.Ebbwatch.Evidence = append(d.Ebbwatch.Evidence, out)
	}
}

// oneLine makes sure that a document is one line of NDJSON.
func oneLine(record json.RawMessage) json.RawMessage {
	if !bytes.ContainsAny(record, "\n\r") {
		return record
	}
	var b bytes.Buffer
	if err := json.Compact(&b, record); err != nil {
		return nil // it was valid a moment ago
	}
	return b.Bytes()
}

func (d *document) endpoints(a *Alert, l *limits) {
	end := func(e signal.Endpoint, n *uint64) *docEndpoint {
		if e == (signal.Endpoint{}) && n == nil {
			return nil
		}
		if e.Port > math.MaxUint16 {
			e.Port = 0
		}
		out := &docEndpoint{IP: address(e.IP), Port: e.Port, Domain: clip(e.Domain, l.name), Bytes: n}
		out.Address = clip(e.IP, l.name)
		if out.Address == "" {
			out.Address = out.Domain
		}
		return out
	}
	d.Source, d.Destination = end(a.Source, a.Bytes), end(a.Destination, nil)
	if a.Destination == (signal.Endpoint{}) {
		return
	}
	d.Network = &docNetwork{Direction: "outbound"}
	switch c := clip(a.Channel, 32); c {
	case "tcp", "udp", "icmp", "ipv6-icmp":
		d.Network.Transport = c
	default:
		d.Network.Protocol = c
	}
}

// who tells the entity in the terms of ECS.
func (d *document) who(e *Entity) {
	var ips []string
	for _, s := range e.Addresses {
		if ip := address(s[strings.LastIndexByte(s, '|')+1:]); ip != "" {
			ips = append(ips, ip)
		}
	}
	if len(e.Hosts) > 0 || len(e.Instances) > 0 || len(ips) > 0 {
		d.Host = &docHost{Name: first(e.Hosts), ID: first(e.Instances), IP: ips}
	}
	if len(e.Containers) > 0 {
		d.Container = &docID{e.Containers[0]}
	}
	if len(e.Pods) > 0 {
		ns, pod, _ := strings.Cut(e.Pods[0], "/")
		d.Orchestrator = &docOrchestrator{Type: "kubernetes", Namespace: ns, Resource: docResource{"pod", pod}}
	}
	cloud := docCloud{}
	if strings.HasPrefix(first(e.Instances), "i-") {
		cloud.Provider, cloud.Instance = "aws", &docID{e.Instances[0]}
	}
	if p := first(e.Principals); p != "" {
		d.User = &docUser{ID: p, Name: p[strings.LastIndexAny(p, "/:")+1:]}
		// arn:partition:service:region:account:resource
		if arn := strings.SplitN(p, ":", 6); len(arn) == 6 && arn[0] == "arn" && strings.HasPrefix(arn[1], "aws") {
			cloud.Provider = "aws"
			if arn[4] != "" {
				cloud.Account = &docID{arn[4]}
			}
		}
	}
	if cloud != (docCloud{}) {
		d.Cloud = &cloud
	}
}

func (d *document) related(a *Alert) {
	r := docRelated{Hosts: slices.Clone(d.Ebbwatch.Entity.Hosts), User: slices.Clone(d.Ebbwatch.Entity.Principals)}
	if d.Host != nil {
		r.IP = slices.Clone(d.Host.IP)
	}
	for _, e := range []*docEndpoint{d.Source, d.Destination} {
		if e != nil && e.IP != "" {
			r.IP = append(r.IP, e.IP)
		}
		if e != nil && e.Domain != "" {
			r.Hosts = append(r.Hosts, e.Domain)
		}
	}
	for _, list := range []*[]string{&r.IP, &r.Hosts, &r.User} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	if len(r.IP)+len(r.Hosts)+len(r.User) > 0 {
		d.Related = &r
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// number keeps what JSON cannot write out of a document.
func number(x float64) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	return x
}

func points(list []signal.Point, l *limits) map[string]docPoint {
	out := make(map[string]docPoint, len(list))
	for _, p := range list {
		if len(out) == l.points {
			break
		}
		out[clip(p.Name, 64)] = docPoint{number(p.Points), number(p.Value), number(p.Threshold)}
	}
	return out
}

func complete(list []Completeness) map[string]docComplete {
	out := make(map[string]docComplete, len(list))
	for _, c := range list[:min(len(list), 24)] {
		out[clip(c.Type, 32)] = docComplete{iso(c.Until), c.Ended}
	}
	return out
}

func threat(ids []string) *docThreat {
	t := docThreat{Framework: "MITRE ATT&CK"}
	var tactic, sub docNamed
	add := func(n *docNamed, id, name string) {
		if id != "" && !slices.Contains(n.ID, id) {
			n.ID, n.Name, n.Reference = append(n.ID, id), append(n.Name, name), append(n.Reference, reference(id))
		}
	}
	var tech docNamed
	for _, id := range ids {
		k, ok := techniques[id]
		if !ok {
			continue // an id that we cannot name may be a typing error
		}
		p, isSub := parent(id)
		add(&tactic, k.tactic, tactics[k.tactic])
		add(&tech, p, techniques[p].name)
		if isSub {
			add(&sub, id, k.name)
		}
	}
	if len(tech.ID) == 0 {
		return nil
	}
	t.Tactic = &tactic
	t.Technique = docTechnique{ID: tech.ID, Name: tech.Name, Reference: tech.Reference}
	if len(sub.ID) > 0 {
		t.Technique.Subtechnique = &sub
	}
	return &t
}

func (j *Joined) document(l *limits) *docJoined {
	if j == nil {
		return nil
	}
	return &docJoined{j.Staged.document(l), j.Sent.document(l), number(j.Delta), j.SameSize, j.Revision}
}

func (h *Half) document(l *limits) docHalf {
	return docHalf{
		clip(h.Signal, 64), clip(h.Detector, 64), clip(h.Channel, 32), clip(h.Subject, l.name), isoAlways(h.Start), isoAlways(h.End),
		h.Bytes, clip(h.Layer, 32), address(h.Destination.IP), h.Destination.Port, clip(h.Destination.Domain, l.name),
	}
}

func (e *Entity) clip(l *limits) Entity {
	return Entity{
		Type: clip(e.Type, 32), Name: clip(e.Name, l.name), Realm: clip(e.Realm, 64),
		Hosts: clipAll(e.Hosts, l.name, l.list), Instances: clipAll(e.Instances, l.name, l.list), Interfaces: clipAll(e.Interfaces, l.name, l.list),
		Pods: clipAll(e.Pods, l.name, l.list), Containers: clipAll(e.Containers, l.name, l.list),
		Addresses: clipAll(e.Addresses, l.name, l.list), Principals: clipAll(e.Principals, l.name, l.list),
	}
}
