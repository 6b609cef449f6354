package zeek

import (
	"bytes"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// maxHeader bounds the header that a position keeps.
const maxHeader = 64 << 10

// header is what the header lines of a TSV file say (formats.md §3.1).
type header struct {
	prefix, sep, setSep, empty, unset []byte
	// lines are the last line of each directive, for Header.
	lines [directiveCount][]byte
	// path is the operand of #path, fields are those of #fields, nil before
	// it; set is the set of them.
	path   []byte
	fields []field
	set    fieldSet
	// columns is the meaning of a row, nil before #fields.
	columns *columns
}

// The directives that bear on rows, in the order in which they are kept.
const (
	dirSeparator = iota
	dirSetSeparator
	dirEmpty
	dirUnset
	dirPath
	dirFields
	directiveCount
)

// columns is the meaning of the columns of a file.
type columns struct {
	fields            []field
	sep, empty, unset []byte
	log               logType
	open              bool
}

func newHeader(sep []byte) header {
	return header{prefix: []byte{'#'}, sep: sep, setSep: []byte{','}, empty: []byte("(empty)"), unset: []byte{'-'}}
}

// headerLine takes a line of the header; known is false where the line is
// none. Any line behind the prefix counts: comments and #close too.
func (d *Decoder) headerLine(line []byte) (known bool) {
	rest, ok := bytes.CutPrefix(line, d.head.prefix)
	if !ok {
		// A new block may have another prefix; nothing else tells it.
		if rest, ok = opening(line); !ok {
			return false
		}
	}
	if sep, ok := bytes.CutPrefix(rest, separatorIs); ok {
		if sep = unescapeTSV(sep); len(sep) > 0 {
			d.head = newHeader(sep)
			d.head.prefix = bytes.Clone(line[:len(line)-len(rest)])
			d.head.lines[dirSeparator] = bytes.Clone(line)
		}
		return true
	}
	name, val, _ := bytes.Cut(rest, d.head.sep)
	var dir int
	switch string(name) {
	case "set_separator":
		if val = unescapeTSV(val); len(val) == 0 {
			return true
		}
		dir, d.head.setSep = dirSetSeparator, val
	case "empty_field":
		dir, d.head.empty = dirEmpty, unescapeTSV(val)
	case "unset_field":
		dir, d.head.unset = dirUnset, unescapeTSV(val)
	case "path":
		dir, d.head.path = dirPath, bytes.Clone(val)
	case "fields":
		dir = dirFields
		d.readNames(val)
	default:
		return true
	}
	d.learn(dir, line)
	return true
}

// separatorIs begins the first line of a header.
var separatorIs = []byte("separator ")

// opening finds the first line of a header behind a prefix that is not the
// current one, and returns it without the prefix.
func opening(line []byte) (rest []byte, ok bool) {
	at := bytes.Index(line, separatorIs)
	if at <= 0 || at > 16 || len(line)-at-len(separatorIs) > 32 || bytes.ContainsAny(line[:at], " \t{\"") {
		return nil, false
	}
	return line[at:], true
}

// plainHeader takes a line of bare column names, which Zeek's "tsv" writer
// option puts before the rows (formats.md §3.1).
func (d *Decoder) plainHeader(line []byte) bool {
	if !bytes.HasPrefix(line, []byte("ts")) {
		return false
	}
	var set fieldSet
	for name := range bytes.SplitSeq(line, d.head.sep) {
		set = set.with(d.fieldNamed(name))
	}
	if !set.has(fTS) || !set.hasAny(fUID, fOrigH, fPeer, fFUID) {
		return false
	}
	d.readNames(line)
	d.learn(dirFields, line)
	return true
}

// learn keeps a directive and makes the columns anew of all that is known.
// A header larger than a position can keep is as good as none: rows must not
// be read by what a restart would not have.
func (d *Decoder) learn(dir int, line []byte) {
	d.head.lines[dir] = bytes.Clone(line)
	d.head.columns = nil
	if d.head.fields != nil && d.head.size() <= maxHeader {
		d.head.columns = d.newColumns()
	}
}

func (h *header) size() (n int) {
	for _, line := range h.lines {
		n += len(line) + 1
	}
	return n
}

// readNames reads the names of the columns. It is done once for each list of
// them: a file may repeat its other directives for ever, and each of those
// must cost its own length, not that of the list.
func (d *Decoder) readNames(names []byte) {
	d.head.fields, d.head.set = nil, fieldSet{}
	if names == nil {
		return
	}
	for name := range bytes.SplitSeq(names, d.head.sep) {
		f := d.fieldNamed(name)
		d.head.set = d.head.set.with(f)
		d.head.fields = append(d.head.fields, f)
	}
}

func (d *Decoder) newColumns() *columns {
	c := &columns{fields: d.head.fields, sep: d.head.sep, empty: d.head.empty, unset: d.head.unset}
	c.log, c.open = d.decide(d.head.path, d.head.set)
	return c
}

// Header implements decode.Lines: the header lines of a TSV file so far, nil
// for JSON.
func (d *Decoder) Header() []byte {
	n := d.head.size()
	if n == directiveCount || n > maxHeader {
		return nil
	}
	out := make([]byte, 0, n)
	for _, line := range d.head.lines {
		if line != nil {
			out = append(append(out, line...), '\n')
		}
	}
	return out
}

// SetHeader implements decode.Lines. It takes what Header returned.
func (d *Decoder) SetHeader(saved []byte) {
	d.head = newHeader(d.sep)
	d.head.columns = d.columns
	for line := range bytes.SplitSeq(saved, []byte{'\n'}) {
		if len(line) > 0 && !d.headerLine(line) {
			d.plainHeader(line)
		}
	}
}

func unescapeTSV(b []byte) []byte {
	return unescape(nil, &value{b: b, kind: kindTSV}, asData)
}

// row decodes one row by its columns.
func (d *Decoder) row(c *columns, line []byte) (outcome, string) {
	d.rec.reset()
	if !d.split(c, line) {
		return dead, decode.ReasonColumns
	}
	if p := d.rec.get(fPath); p != nil {
		return d.decodeRecord(nil)
	}
	return d.decodeAs(c.log, c.open)
}

// split cuts a row into d.rec; false where it has not as many columns as the
// header.
func (d *Decoder) split(c *columns, line []byte) bool {
	rest := line
	last := len(c.fields) - 1
	for n, f := range c.fields {
		col := rest
		var at int
		if len(c.sep) == 1 {
			at = bytes.IndexByte(rest, c.sep[0])
		} else {
			at = bytes.Index(rest, c.sep)
		}
		if (at < 0) != (n == last) {
			return false
		}
		if at >= 0 {
			col, rest = rest[:at], rest[at+len(c.sep):]
		}
		if f == fNone || bytes.Equal(col, c.unset) {
			continue
		}
		if bytes.Equal(col, c.empty) {
			col = col[:0]
		}
		d.rec.put(f, value{b: col, kind: kindTSV})
	}
	return true
}
