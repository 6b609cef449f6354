package zeek

import (
	"bytes"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Values of Observer.Type.
const (
	ObserverType = "zeek"
	// ObserverExfil marks the records of dns_exfil.log: a second look at
	// transactions that dns.log has as well.
	ObserverExfil = "zeek-exfil"
)

// ReasonNoHeader is the reason of a dead TSV row before which no header told
// its columns.
const ReasonNoHeader = "no_header"

// Reasons of ignored lines.
const (
	ignoredHeader = "header"
	ignoredEmpty  = "empty_line"
	ignoredOther  = "other_log"
	// A file that Zeek saw outside of any connection, or lost before it saw
	// where it went.
	ignoredNowhere = "no_endpoints"
	// A record of ftp, smb_files, dhcp or ntlm that says nothing of a transfer,
	// nor who has an address.
	ignoredNothing = "no_content"
)

// DefaultMaxLine is the longest line that is read unless Options say
// otherwise. Zeek itself cuts a record at 256,000 bytes since 8.1.
const DefaultMaxLine = 1 << 20

// Options configure a Decoder. The zero value reads anything that Zeek writes
// by default.
type Options struct {
	// Path is the name of the file or topic that the lines come from. A part
	// of it that names a log ("conn.log.gz", "dns") decides where the lines do
	// not; "open_" before it marks snapshots even where they do.
	Path string
	// FieldNames maps names as the site writes them to Zeek's own
	// ("src_ip" → "id.orig_h"), undoing Log::default_field_name_map.
	FieldNames map[string]string
	// Columns are the columns of TSV without any header
	// (LogAscii::include_meta = F); Separator stands between them, a tab
	// unless set.
	Columns   []string
	Separator string
	// MaxLine is the longest line in bytes, DefaultMaxLine unless set.
	MaxLine int
}

// Decoder decodes the lines of one file or topic partition, in order. It is
// not safe for concurrent use.
type Decoder struct {
	maxLine int
	names   map[string]field
	hint    namedLog
	sep     []byte   // of TSV without a header
	columns *columns // of Options.Columns, nil without
	head    header

	// Of the current line:
	rec     record
	objects []object
	file    namedLog // of the file that a shipper names
	scratch []byte
	ev      event.Event
}

// namedLog is what a name says about the records behind it.
type namedLog struct {
	t    logType
	open bool
}

var _ decode.Lines = (*Decoder)(nil)

// New returns a decoder. Names in FieldNames that lead to no field that is
// read have no effect.
func New(o Options) *Decoder {
	d := &Decoder{maxLine: o.MaxLine}
	if d.maxLine <= 0 {
		d.maxLine = DefaultMaxLine
	}
	if len(o.FieldNames) > 0 {
		d.names = make(map[string]field, len(o.FieldNames))
		for theirs, ours := range o.FieldNames {
			d.names[theirs] = fieldNamed([]byte(ours))
		}
	}
	d.hint.t, d.hint.open = hinted(o.Path)
	sep := o.Separator
	if sep == "" {
		sep = "\t"
	}
	d.sep = []byte(sep)
	d.head = newHeader(d.sep)
	if len(o.Columns) > 0 {
		d.readNames([]byte(strings.Join(o.Columns, sep)))
		d.columns = d.newColumns()
		d.head = newHeader(d.sep)
		d.head.columns = d.columns
	}
	return d
}

// outcome is what became of a line.
type outcome uint8

const (
	dead outcome = iota
	ignored
	decoded
)

// Line implements decode.Lines.
func (d *Decoder) Line(line []byte, at event.Origin, sink decode.Sink) {
	if cap(d.scratch) > maxScratch {
		d.scratch = nil // one long line must not hold memory for ever
	}
	d.scratch = d.scratch[:0]
	d.file = namedLog{}
	var result outcome
	var reason string
	if len(line) > d.maxLine {
		reason = decode.ReasonTooLong
	} else {
		result, reason = d.line(trimLine(line))
	}
	switch result {
	case decoded:
		d.ev.Origin = at
		sink.Event(&d.ev)
	case ignored:
		sink.Ignored(reason)
	default:
		sink.Dead(reason, line, at)
	}
}

// maxScratch is how much memory for unescaped text outlives a line.
const maxScratch = 64 << 10

// trimLine takes off a byte order mark and the carriage return of a file that
// passed through Windows: Zeek escapes both in its text.
func trimLine(line []byte) []byte {
	line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
	return bytes.TrimSuffix(line, []byte{'\r'})
}

func (d *Decoder) line(line []byte) (outcome, string) {
	c := d.head.columns
	switch {
	case skipSpace(line, 0) == len(line):
		return ignored, ignoredEmpty
	case bytes.HasPrefix(line, d.head.prefix) && d.headerLine(line):
		return ignored, ignoredHeader
	case c != nil:
		result, reason := d.row(c, line)
		switch {
		case result == dead && reason == decode.ReasonColumns:
			return d.strange(line)
		case result == dead && reason == decode.ReasonValue && d.plainHeader(line):
			return ignored, ignoredHeader // of the next file in this one
		}
		return result, reason
	}
	return d.strange(line)
}

// strange decodes a line that is no row of the current header.
func (d *Decoder) strange(line []byte) (outcome, string) {
	if body := line[skipSpace(line, 0):]; body[0] == '{' {
		return d.jsonLine(body, false)
	}
	switch {
	case d.headerLine(line), d.plainHeader(line):
		return ignored, ignoredHeader
	case d.head.columns != nil:
		return dead, decode.ReasonColumns
	case bytes.Contains(line, d.head.sep):
		return dead, ReasonNoHeader
	}
	return dead, decode.ReasonUnknownFormat
}

// fieldNamed returns the field of a name as the site writes it.
func (d *Decoder) fieldNamed(name []byte) field {
	if d.names != nil {
		if f, ok := d.names[string(name)]; ok {
			return f
		}
	}
	return fieldNamed(name)
}

// decodeRecord decides what log the record in d.rec belongs to and decodes
// it. tag is the name under which it stood in the line, nil without one.
func (d *Decoder) decodeRecord(tag []byte) (outcome, string) {
	path := tag
	if p := d.rec.get(fPath); p != nil {
		path = p.b
	}
	if path == nil && d.file.t == logUnknown && (d.rec.set.has(fLogFile) || len(d.objects) > 0) {
		d.learnFile()
	}
	return d.decodeAs(d.decide(path, d.rec.set))
}

// decide tells the log of a record with these fields (formats.md §3.11): by
// the name that came with it, by the file or topic, by the fields.
func (d *Decoder) decide(path []byte, set fieldSet) (t logType, open bool) {
	open = d.hint.open || d.file.open
	if len(path) > 0 {
		t, o := logNamed(path)
		if t == logUnknown {
			path = bytes.ToLower(path)
			if t, o = logNamed(path); t == logUnknown {
				t, o = suffixed(path, set.signature())
			}
		}
		return t, open || o
	}
	t = d.file.t
	if t == logUnknown {
		t = d.hint.t
	}
	// A topic may bear the name of a log and carry several: the name does not
	// stand against fields of which none is that log's.
	if s := set.signature(); s != logUnknown && (!set.supports(t) || t == logDNS && s == logExfil) {
		t = s
	}
	return t, open
}

// suffixed reads a log path that a site or a filter extended: "conn-2",
// "http_kafka". The fields must agree; any other name is a log of the site's
// own.
func suffixed(path []byte, signature logType) (logType, bool) {
	base, open := bytes.CutPrefix(path, []byte("open_"))
	for i := len(base) - 1; i > 0; i-- {
		if base[i] == '-' || base[i] == '_' || base[i] == '.' {
			if t, o := logNamed(base[:i]); t == signature && t != logUnknown {
				return t, open || o
			}
		}
	}
	return logOther, false
}
