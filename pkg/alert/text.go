package alert

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

// Line is the alert in one line: how bad, what, who, and why.
func (a *Alert) Line() string {
	var b strings.Builder
	b.WriteString(strings.ToUpper(a.Severity))
	b.WriteString(" ")
	b.WriteString(RuleName(clip(a.Detector, 64)))
	if a.Entity.Name != "" {
		b.WriteString(" on ")
		b.WriteString(clip(a.Entity.Name, 128))
	}
	if a.Reason != "" {
		b.WriteString(": ")
		b.WriteString(clip(a.Reason, 512))
	}
	return b.String()
}

// Text is the alert for the person who was woken by it: what happened, who,
// where to, how much, when, how sure, what to do, and where the evidence is.
// It ends with a newline and holds no control characters but newlines.
func (a *Alert) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", clip(a.Line(), 700))
	row := func(label, format string, args ...any) {
		if text := clip(fmt.Sprintf(format, args...), 600); text != "" {
			fmt.Fprintf(&b, "  %-10s %s\n", label, text)
		}
	}
	row("who", "%s", a.Entity.text())
	if j := a.Joined; j != nil {
		row("staged", "%s", j.Staged.text())
		row("sent", "%s", j.Sent.text())
		row("between", "%s", j.text())
	} else {
		row("where to", "%s", endpoint(a.Destination, a.Channel))
		if a.Subject != "" {
			row("about", "%s", a.Subject)
		}
		if a.Bytes != nil {
			row("how much", "%s%s", Bytes(*a.Bytes), onLayer(a.Layer))
		}
		row("when", "%s", span(a.First, a.Time))
	}
	if a.Classification != "" {
		row("data", "%s", a.Classification)
	}
	row("how sure", "confidence %s, risk %d of 100, %s", a.Confidence, a.Risk, count(max(a.SignalsTotal, len(a.Signals)), "signal"))
	for _, p := range a.Points {
		if p.Points != 0 {
			row("", "+%s %s (%s, from %s)", short(p.Points), p.Name, short(p.Value), short(p.Threshold))
		}
	}
	row("complete", "%s", completeText(a.Completeness))
	row("do", "%s", a.Action)
	for _, r := range a.Rollup {
		row("holds", "%s %s: %s", r.Severity, r.Entity, r.Reason)
	}
	if more := a.RollupTotal - len(a.Rollup); more > 0 {
		row("", "and %s", count(more, "more alert"))
	}
	for _, e := range a.Evidence {
		where := fmt.Sprintf("%s/%d@%d", e.Topic, e.Partition, e.Offset)
		if e.Name != "" {
			where += " " + e.Name
			if e.Line > 0 {
				where += ":" + strconv.FormatUint(e.Line, 10)
			}
		}
		row("evidence", "%s", where)
	}
	if v := a.Verdict; v != nil {
		row("verdict", "%s by %s: %s", v.Verdict, v.By, v.Why)
	}
	if a.SupersededBy != "" {
		row("see", "alert %s, of which this has become part", a.SupersededBy)
	}
	row("alert", "%s revision %d, %s", a.ID, a.Revision, a.Status)
	return b.String()
}

func (e *Entity) text() string {
	parts := []string{e.Name}
	for _, list := range [][]string{e.Hosts, e.Instances, e.Pods, e.Containers, e.Addresses, e.Principals} {
		for _, s := range list[:min(len(list), 4)] {
			// Naming the default address space tells nobody anything.
			if s = strings.TrimPrefix(s, "default|"); s != e.Name {
				parts = append(parts, s)
			}
		}
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return parts[0] + " (" + strings.Join(parts[1:], ", ") + ")"
}

func (h *Half) text() string {
	var parts []string
	if h.Bytes != nil {
		parts = append(parts, Bytes(*h.Bytes)+onLayer(h.Layer))
	}
	if h.Subject != "" {
		parts = append(parts, h.Subject)
	}
	if to := endpoint(h.Destination, h.Channel); to != "" {
		parts = append(parts, "to "+to)
	}
	parts = append(parts, span(h.Start, h.End), "by "+h.Detector)
	return strings.Join(parts, ", ")
}

func (j *Joined) text() string {
	out := "at the same time"
	switch {
	case j.Delta > 0:
		out = short(j.Delta) + " minutes from the end of the staging to the transfer"
	case j.Delta < 0:
		out = "the transfer came " + short(-j.Delta) + " minutes before"
	}
	if j.SameSize {
		out += "; the sizes match"
	}
	return out
}

func endpoint(e signal.Endpoint, channel string) string {
	out := e.IP
	if out == "" {
		out = e.Domain
	} else if e.Domain != "" {
		out = e.Domain + " (" + e.IP + ")"
	}
	if out == "" {
		return ""
	}
	if e.Port > 0 {
		out += " port " + strconv.FormatUint(e.Port, 10)
	}
	if channel != "" {
		out += ", " + channel
	}
	return out
}

func onLayer(layer string) string {
	switch layer {
	case "":
		return ""
	case "ip":
		return " (IP)"
	case "http":
		return " (HTTP bodies)"
	}
	return " (" + layer + ")"
}

func span(from, to int64) string {
	const layout = "2006-01-02 15:04:05"
	a, b := time.UnixMicro(from).UTC(), time.UnixMicro(to).UTC()
	if b.Sub(a) < time.Second {
		return a.Format(layout) + " UTC"
	}
	if a.Format(time.DateOnly) == b.Format(time.DateOnly) {
		return a.Format(layout) + " to " + b.Format(time.TimeOnly) + " UTC"
	}
	return a.Format(layout) + " to " + b.Format(layout) + " UTC"
}

func completeText(list []Completeness) string {
	parts := make([]string, 0, len(list))
	for _, c := range list {
		switch {
		case c.Ended:
			parts = append(parts, c.Type+" to its end")
		case c.Until == 0:
			parts = append(parts, c.Type+" not known")
		default:
			parts = append(parts, c.Type+" up to "+time.UnixMicro(c.Until).UTC().Format(time.TimeOnly))
		}
	}
	return strings.Join(parts, ", ")
}

// Bytes writes a size in decimal units with three digits, "734 MB".
func Bytes(n uint64) string {
	units := [...]string{"B", "kB", "MB", "GB", "TB", "PB", "EB"}
	x, u := float64(n), 0
	for x >= 999.5 && u < len(units)-1 {
		x, u = x/1000, u+1
	}
	digits := 0
	if u > 0 {
		switch {
		case x < 9.995:
			digits = 2
		case x < 99.95:
			digits = 1
		}
	}
	return strconv.FormatFloat(x, 'f', digits, 64) + " " + units[u]
}

// short writes a number with at most two decimals.
func short(x float64) string {
	return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
