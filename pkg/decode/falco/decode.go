package falco

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Type is the observer type of the events.
const Type = "falco"

// ReasonText marks a line of Falco's text form: json_output is off, which is
// Falco's default.
const ReasonText = "falco_text"

// Reasons of ignored alerts.
const (
	ignoredBlank    = "blank"
	ignoredInternal = "internal"  // Falco about itself, other than lost events
	ignoredTest     = "test_rule" // falcosidekick's own test message
)

// maxAlert is the longest alert; falcosidekick cuts fields beyond 4 KB.
const maxAlert = 1 << 20

const maxTags = 64

// A Decoder decodes alerts; it implements decode.Lines. It is not safe for
// concurrent use.
type Decoder struct {
	ev  event.Event
	out output
	id  [16]byte // the text of ID
}

var _ decode.Lines = (*Decoder)(nil)

// New returns a decoder.
func New() *Decoder { return &Decoder{} }

// Header implements decode.Lines; alerts need none.
func (d *Decoder) Header() []byte { return nil }

// SetHeader implements decode.Lines.
func (d *Decoder) SetHeader([]byte) {}

// Line implements decode.Lines.
func (d *Decoder) Line(line []byte, at event.Origin, sink decode.Sink) { d.Decode(line, at, sink) }

// Decode decodes one alert: a line, a syslog message or the body of a
// request. It gives exactly one event, ignored or dead record.
func (d *Decoder) Decode(data []byte, at event.Origin, sink decode.Sink) {
	text := bytes.Trim(bytes.TrimPrefix(data, []byte("\uFEFF")), " \t\r\n\x00")
	switch {
	case len(text) == 0:
		sink.Ignored(ignoredBlank)
		return
	case len(text) > maxAlert:
		sink.Dead(decode.ReasonTooLong, data, at)
		return
	case text[0] != '{' && isText(text):
		sink.Dead(ReasonText, data, at)
		return
	case text[0] != '{':
		// Syslog and container runtimes put their own header in front.
		if i := bytes.Index(text, []byte(`{"`)); i > 0 {
			text = text[i:]
		}
	}
	if reason := d.alert(text, at, sink); reason != "" {
		sink.Dead(reason, data, at)
	}
}

// alert decodes one JSON object. It returns the reason why it is dead, or ""
// when the sink has it.
func (d *Decoder) alert(text []byte, at event.Origin, sink decode.Sink) (reason string) {
	var doc struct {
		Hostname rawjson.Value `json:"hostname"`
		Priority rawjson.Value `json:"priority"`
		Rule     rawjson.Value `json:"rule"`
		Source   rawjson.Value `json:"source"`
		Tags     rawjson.Value `json:"tags"`
		Time     rawjson.Value `json:"time"`
		Fields   rawjson.Value `json:"output_fields"`
	}
	switch err := rawjson.Parse(text, &doc); {
	case errors.Is(err, rawjson.ErrDeep):
		return decode.ReasonTooDeep
	case err != nil:
		return decode.ReasonJSON
	}
	e := &d.ev
	e.Reset()
	e.Origin, e.Observer.Type = at, Type
	e.Rule.Name = rawjson.Text(doc.Rule)
	if e.Rule.Name == "" {
		return decode.ReasonMissing
	}
	e.Rule.Priority = priority(rawjson.Text(doc.Priority))
	for tag := range rawjson.Each(doc.Tags) {
		if s := rawjson.Text(tag); s != "" && len(e.Rule.Tags) < maxTags {
			e.Rule.Tags = append(e.Rule.Tags, s)
		}
	}
	d.out = output{}
	for key, value := range rawjson.Object(doc.Fields) {
		d.out.field(e, key, value)
	}
	d.out.finish(e)
	if e.Host.Name = clean(rawjson.Text(doc.Hostname)); e.Host.Name == "" {
		e.Host.Name = d.out.hostname
	}
	nanos := d.out.nanos
	if nanos == 0 {
		if t, err := time.Parse(time.RFC3339Nano, rawjson.Text(doc.Time)); err == nil {
			nanos = t.UnixNano()
		}
	}
	if nanos <= 0 {
		return decode.ReasonMissing
	}
	e.Time = nanos / 1000
	d.identify(e, nanos)

	switch {
	case e.Rule.Name == "Test rule" && e.Process.Name == "falcosidekick":
		sink.Ignored(ignoredTest)
		return ""
	case rawjson.Text(doc.Source) == "internal" || strings.HasPrefix(e.Rule.Name, "Falco internal:"):
		if !d.out.health(e) {
			sink.Ignored(ignoredInternal)
			return ""
		}
	default:
		e.Kind = d.out.kind(e)
	}
	sink.Event(e)
	return ""
}

// identify sets ID from what a repeated delivery has in common (formats.md
// §9.2). The time is taken as a number because falcosidekick drops trailing
// zeros of its text, the fields in no order.
func (d *Decoder) identify(e *event.Event, nanos int64) {
	var h xxhash.Digest
	h.Reset()
	_, _ = h.WriteString(e.Host.Name)
	var tail [17]byte
	binary.BigEndian.PutUint64(tail[1:], uint64(nanos))
	binary.BigEndian.PutUint64(tail[9:], d.out.sum)
	_, _ = h.Write(tail[:])
	_, _ = h.WriteString(e.Rule.Name)
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], h.Sum64())
	hex.Encode(d.id[:], sum[:])
	e.ID = rawjson.View(d.id[:])
}

var priorities = []string{"emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"}

// priority returns the lower-case name; Falco's Info is informational.
func priority(s string) string {
	if strings.EqualFold(s, "info") {
		return "informational"
	}
	for _, p := range priorities {
		if strings.EqualFold(s, p) {
			return p
		}
	}
	return strings.ToLower(s)
}

// isText recognises Falco's text form, "TIME: Priority message".
func isText(line []byte) bool {
	stamp, rest, found := bytes.Cut(line, []byte(": "))
	if !found || len(stamp) == 0 {
		return false
	}
	for _, c := range stamp {
		if (c < '0' || c > '9') && !strings.ContainsRune(":.-+TZ", rune(c)) {
			return false
		}
	}
	word, _, _ := bytes.Cut(rest, []byte(" "))
	return slices.Contains(priorities, priority(string(word)))
}

// clean makes Falco's words for "no value" absent.
func clean(s string) string {
	if s == "<NA>" || s == "N/A" {
		return ""
	}
	return s
}

// percent reads a number of the drop alert, which may be written as text.
func percent(v rawjson.Value) float64 {
	x, err := strconv.ParseFloat(rawjson.Scalar(v), 64)
	if err != nil || !(x >= 0 && x <= 100) {
		return 0
	}
	return x
}
