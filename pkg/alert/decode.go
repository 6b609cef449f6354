package alert

import (
	"fmt"
	"maps"
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/segmentio/encoding/json"
)

// Decode decodes an ECS document that Append wrote. Times have the precision
// of the document, milliseconds. The error wraps ErrFormat.
func Decode(data []byte, a *Alert) error {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	own := &d.Ebbwatch
	switch {
	case d.Event.Kind != "alert" || own.ID == "" || own.Detector == "":
		return fmt.Errorf("%w: no alert, id or detector", ErrFormat)
	case own.V != Version:
		return fmt.Errorf("%w: version %d", ErrFormat, own.V)
	}
	*a = Alert{
		ID: own.ID, Revision: own.Revision, Status: own.Status, Notify: own.Notify, Detector: own.Detector,
		Time: parseISO(d.Timestamp), First: parseISO(d.Event.Start), Created: parseISO(d.Event.Created),
		Window:   Window{parseISO(own.Window.Start), parseISO(own.Window.End)},
		Severity: own.Severity, Confidence: own.Confidence, Classification: own.Classification, Risk: d.Event.RiskScore,
		Reason: own.Reason, Entity: own.Entity, Layer: own.Layer, Channel: own.Channel, Subject: own.Subject,
		Technique: own.Technique, Signals: own.Signals, SignalsTotal: own.SignalsTotal,
		EvidenceTrimmed: own.Trimmed, Action: own.Action, SupersededBy: own.SupersededBy,
	}
	if d.Source != nil {
		a.Source, a.Bytes = d.Source.endpoint(), d.Source.Bytes
	}
	if d.Destination != nil {
		a.Destination = d.Destination.endpoint()
	}
	for _, name := range slices.Sorted(maps.Keys(own.Points)) {
		p := own.Points[name]
		a.Points = append(a.Points, signal.Point{Name: name, Points: p.Points, Value: p.Value, Threshold: p.Threshold})
	}
	for _, e := range own.Evidence {
		out := signal.Evidence{Topic: e.Topic, Partition: e.Partition, Offset: e.Offset, Name: e.File, Line: e.Line, At: -1, Record: e.Record}
		if e.At != nil {
			out.At = *e.At
		}
		a.Evidence = append(a.Evidence, out)
	}
	for _, typ := range slices.Sorted(maps.Keys(own.Completeness)) {
		c := own.Completeness[typ]
		a.Completeness = append(a.Completeness, Completeness{typ, parseISO(c.Until), c.Ended})
	}
	if j := own.Joined; j != nil {
		a.Joined = &Joined{j.Staged.half(), j.Sent.half(), j.Delta, j.SameSize, j.Revision}
	}
	if v := own.Verdict; v != nil {
		a.Verdict = &Verdict{v.Verdict, v.By, v.Why, parseISO(v.Time)}
	}
	if r := own.Rollup; r != nil {
		a.Rollup, a.RollupTotal = r.Alerts, r.Total
	}
	return nil
}

func (e *docEndpoint) endpoint() signal.Endpoint {
	out := signal.Endpoint{IP: e.IP, Port: e.Port, Domain: e.Domain}
	if out.IP == "" && e.Address != e.Domain {
		out.IP = e.Address
	}
	return out
}

func (h *docHalf) half() Half {
	return Half{
		Signal: h.Signal, Detector: h.Detector, Channel: h.Channel, Subject: h.Subject, Start: parseISO(h.Start), End: parseISO(h.End),
		Bytes: h.Bytes, Layer: h.Layer, Destination: signal.Endpoint{IP: h.IP, Port: h.Port, Domain: h.Domain},
	}
}
