package hostlog

import (
	"bytes"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
)

// maxForeign is how many lines of no form a log may begin with.
const maxForeign = 2

// Recognise reports whether a text, of which head is the beginning, is such a
// log: its lines have one of the forms, but for a few at most, and one is a
// record of auditd or comes from the kernel. Logs of programs that use syslog's
// form are none, though their lines could be read.
func Recognise(head []byte) bool {
	// Of lines without a year only the form is asked: with this reference every
	// day of the calendar is one.
	d := New(Options{Reference: time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)})
	foreign := 0
	for len(head) > 0 {
		line, rest, complete := bytes.Cut(head, []byte{'\n'})
		if head = rest; !complete && len(line) > 4096 {
			return false
		}
		s := rawjson.View(bytes.Trim(bytes.TrimPrefix(line, []byte("\uFEFF")), " \t\r\x00"))
		switch {
		case s == "", strings.HasPrefix(s, "--"), strings.HasPrefix(s, "time->"):
			continue
		case isAudit(s):
			return strings.Contains(s, " msg=audit(")
		case s[0] == '{':
			return strings.Contains(s, `"__REALTIME_TIMESTAMP"`) && strings.Contains(s, `"MESSAGE"`)
		}
		h, reason := d.header(s)
		switch {
		case reason != "":
			if foreign++; foreign > maxForeign {
				return false
			}
		case h.program == "kernel", isAudit(h.message):
			return true
		}
	}
	return false
}
