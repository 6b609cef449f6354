package hostlog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Type is the observer type of the events.
const Type = "hostlog"

// Actions of the events.
const (
	ActionAttached = "attached" // a disk, by the kernel
	ActionMount    = "mount"    // a file system, by auditd
)

// Reasons of ignored lines.
const (
	ignoredBlank   = "blank"
	ignoredNote    = "note"          // journalctl's and ausearch's own lines
	ignoredProgram = "other_program" // not from the kernel
	ignoredKernel  = "other_kernel"
	ignoredPort    = "usb_port"   // what a USB port says before its disk is attached
	ignoredFixed   = "fixed_disk" // a disk that is neither removable nor on USB
	ignoredAudit   = "other_audit"
	ignoredPart    = "mount_part"   // a record of a mount that another record completes
	ignoredMount   = "other_mount"  // of something that is no disk, or of none that is named
	ignoredSystem  = "system_mount" // on the system's own folders
)

// Bounds of a line and of what is kept of it.
const (
	maxLine = 1 << 20
	maxText = 128
	maxHost = 255
)

// latest is the last time that an event may have, microseconds: the year 9999.
const latest = 253402300799_999999

// Options say what lines do not say themselves.
type Options struct {
	// Reference is a time not before the lines that is near to them: that of
	// the file's last change. Lines without a year need it.
	Reference time.Time
	// Location is the zone of lines that name none; nil is UTC.
	Location *time.Location
	// Host is the machine of audit records that name none.
	Host string
}

// A Decoder decodes lines; it implements decode.Lines. It is not safe for
// concurrent use.
type Decoder struct {
	opts  Options
	ref   time.Time // the newest of Options.Reference and lines without a year
	ev    event.Event
	id    [16]byte // the text of ID
	ports []port   // oldest first
	audit []mount  // oldest first
	// state is the Header of what is kept; nil when that has changed since.
	state []byte
}

var _ decode.Lines = (*Decoder)(nil)

// New returns a decoder.
func New(o Options) *Decoder {
	if o.Location == nil {
		o.Location = time.UTC
	}
	return &Decoder{opts: o, ref: o.Reference}
}

// Line implements decode.Lines.
func (d *Decoder) Line(line []byte, at event.Origin, sink decode.Sink) {
	text := bytes.Trim(bytes.TrimPrefix(line, []byte("\uFEFF")), " \t\r\n\x00")
	if len(text) > maxLine {
		sink.Dead(decode.ReasonTooLong, line, at)
		return
	}
	d.ev.Reset()
	d.ev.Kind, d.ev.Origin, d.ev.Observer.Type = event.KindDevice, at, Type
	outcome, reason := d.line(text)
	switch outcome {
	case isEvent:
		sink.Event(&d.ev)
	case isIgnored:
		sink.Ignored(reason)
	case isDead:
		sink.Dead(reason, line, at)
	}
}

type outcome uint8

const (
	isIgnored outcome = iota
	isEvent
	isDead
)

func ignored(reason string) (outcome, string) { return isIgnored, reason }
func dead(reason string) (outcome, string)    { return isDead, reason }

// line decodes one line into ev.
func (d *Decoder) line(text []byte) (outcome, string) {
	s := rawjson.View(text)
	switch {
	case s == "":
		return ignored(ignoredBlank)
	case s[0] == '{':
		return d.journal(text)
	case strings.HasPrefix(s, "--"), strings.HasPrefix(s, "time->"):
		return ignored(ignoredNote)
	case isAudit(s):
		return d.auditRecord(s, "")
	}
	h, reason := d.header(s)
	switch {
	case reason != "":
		return dead(reason)
	case h.program == "kernel":
		d.ev.Time = h.time
		return d.kernel(h.host, uptime(h.message))
	case isAudit(h.message):
		return d.auditRecord(h.message, h.host)
	}
	return ignored(ignoredProgram)
}

// journal decodes a record of journalctl -o json.
func (d *Decoder) journal(text []byte) (outcome, string) {
	var doc struct {
		Time       rawjson.Value `json:"__REALTIME_TIMESTAMP"`
		Host       rawjson.Value `json:"_HOSTNAME"`
		Transport  rawjson.Value `json:"_TRANSPORT"`
		Identifier rawjson.Value `json:"SYSLOG_IDENTIFIER"`
		Message    rawjson.Value `json:"MESSAGE"`
	}
	switch err := rawjson.Parse(text, &doc); {
	case errors.Is(err, rawjson.ErrDeep):
		return dead(decode.ReasonTooDeep)
	case err != nil:
		return dead(decode.ReasonJSON)
	}
	micros, ok := rawjson.Int(doc.Time)
	switch {
	case !ok || len(doc.Message) == 0:
		return dead(decode.ReasonMissing)
	case micros <= 0 || micros > latest:
		return dead(decode.ReasonValue)
	case rawjson.Text(doc.Identifier) != "kernel" && rawjson.Text(doc.Transport) != "kernel":
		return ignored(ignoredProgram)
	}
	d.ev.Time = micros
	// A message with bytes that are no text is an array of numbers; the ones
	// looked for are text.
	return d.kernel(rawjson.Text(doc.Host), uptime(rawjson.Text(doc.Message)))
}

// identify sets ID.
func (d *Decoder) identify(parts ...string) {
	var h xxhash.Digest
	h.Reset()
	for _, p := range parts {
		_, _ = h.WriteString(p)
		_, _ = h.WriteString("\x00")
	}
	var sum [8]byte
	hex.Encode(d.id[:], h.Sum(sum[:0]))
	d.ev.ID = rawjson.View(d.id[:])
}

// kept returns what may be kept of a text for later lines: a copy, cut, and
// without what could not stand in Header.
func kept(s string, most int) string {
	if !isPlain(s) {
		s = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(s[:min(len(s), 4*most)], "?"))
	}
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return strings.Clone(s)
}

// cleaned returns the name of a host as it may be kept; it is no copy where the
// name is as names are.
func cleaned(host string) string {
	if len(host) <= maxHost && isPlain(host) {
		return host
	}
	return kept(host, maxHost)
}

// isPlain reports whether a text is printable ASCII.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
