package hostlog

import (
	"strconv"
	"strings"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// head is what stands in front of a message in syslog.
type head struct {
	time          int64 // microseconds
	host, program string
	message       string
}

// header takes a line of syslog apart: RFC 3164, the same with an ISO 8601
// time, or RFC 5424; each with or without the priority in front. reason says
// why it is none.
func (d *Decoder) header(s string) (h head, reason string) {
	s, version := priority(s)
	if version {
		return d.header5424(s)
	}
	at, rest, reason := d.stamp(s)
	if reason != "" {
		return h, reason
	}
	h.time = at
	word, rest, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	if !strings.HasSuffix(word, ":") {
		h.host = word
		if word, rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " "); word == "" {
			return h, decode.ReasonUnknownFormat
		}
	}
	if tag, ok := strings.CutSuffix(word, ":"); ok { // or a message without a tag
		h.program, _, _ = strings.Cut(tag, "[")
	}
	h.message = strings.TrimLeft(rest, " ")
	return h, ""
}

// priority cuts <PRI> off and reports whether the version of RFC 5424 follows.
func priority(s string) (rest string, version bool) {
	if !strings.HasPrefix(s, "<") {
		return s, false
	}
	end := strings.IndexByte(s[:min(len(s), 5)], '>')
	if end < 2 || strings.Trim(s[1:end], "0123456789") != "" {
		return s, false
	}
	return strings.CutPrefix(s[end+1:], "1 ")
}

// header5424 takes apart what follows <PRI>1.
func (d *Decoder) header5424(s string) (h head, reason string) {
	var words [5]string // time, host, program, process, message id
	for i := range words {
		var ok bool
		if words[i], s, ok = strings.Cut(s, " "); !ok {
			return h, decode.ReasonUnknownFormat
		}
	}
	t, err := time.Parse(time.RFC3339Nano, words[0])
	switch {
	case words[0] == "-":
		return h, decode.ReasonMissing
	case err != nil:
		return h, decode.ReasonUnknownFormat
	}
	if h.time = t.UnixMicro(); h.time <= 0 || h.time > latest {
		return h, decode.ReasonValue
	}
	if words[1] != "-" {
		h.host = words[1]
	}
	h.program = words[2]
	for strings.HasPrefix(s, "[") {
		end := elementEnd(s)
		if end < 0 {
			return h, decode.ReasonUnknownFormat
		}
		s = s[end:]
	}
	h.message = strings.TrimPrefix(strings.TrimLeft(strings.TrimPrefix(s, "-"), " "), "\uFEFF")
	return h, ""
}

// elementEnd returns where the structured data element ends that s begins
// with, -1 if it does not.
func elementEnd(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ']' && !quoted:
			return i + 1
		}
	}
	return -1
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// ahead is how far after the reference a line without a year may lie: a file
// that is followed grows after its last change was looked up, and may be
// silent for a while.
const ahead = 30 * 24 * time.Hour

// stamp reads the time that a line begins with, microseconds.
func (d *Decoder) stamp(s string) (micros int64, rest, reason string) {
	if s != "" && s[0] >= '0' && s[0] <= '9' {
		return isoStamp(s)
	}
	// Mmm dd hh:mm:ss, perhaps with a fraction.
	if len(s) < 16 || s[3] != ' ' || s[6] != ' ' || s[9] != ':' || s[12] != ':' {
		return 0, "", decode.ReasonUnknownFormat
	}
	month := strings.Index(months, s[:3])
	day, hour, minute, second := twoDigits(s[4:]), twoDigits(s[7:]), twoDigits(s[10:]), twoDigits(s[13:])
	if month < 0 || month%3 != 0 || day < 0 || hour < 0 || minute < 0 || second < 0 {
		return 0, "", decode.ReasonUnknownFormat
	}
	if day == 0 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		return 0, "", decode.ReasonValue
	}
	rest = s[15:]
	nanos := 0
	if strings.HasPrefix(rest, ".") {
		nanos, rest = fraction(rest[1:])
	}
	if !strings.HasPrefix(rest, " ") {
		return 0, "", decode.ReasonUnknownFormat
	}
	if d.ref.IsZero() {
		return 0, "", decode.ReasonMissing // nothing says which year it is
	}
	year := d.ref.In(d.opts.Location).Year()
	for y := year + 1; y >= year-1; y-- {
		t := time.Date(y, time.Month(month/3+1), day, hour, minute, second, nanos, d.opts.Location)
		if t.Sub(d.ref) > ahead || t.Month() != time.Month(month/3+1) && day > 28 {
			continue // too late, or a 29 February of another year
		}
		micros = t.UnixMicro()
		if micros <= 0 || micros > latest {
			return 0, "", decode.ReasonValue
		}
		// In steps, or Header would be another with each line.
		if t.Sub(d.ref) > 24*time.Hour {
			d.ref, d.state = t, nil
		}
		return micros, rest, ""
	}
	return 0, "", decode.ReasonValue
}

// isoStamp reads an ISO 8601 time; the zone may lack its colon, and must be
// there: without it a line could mean any.
func isoStamp(s string) (micros int64, rest, reason string) {
	word, rest, ok := strings.Cut(s, " ")
	if !ok || len(word) < 20 || len(word) > 40 || word[10] != 'T' {
		return 0, "", decode.ReasonUnknownFormat
	}
	t, err := time.Parse(time.RFC3339Nano, word)
	if err != nil {
		if t, err = time.Parse("2006-01-02T15:04:05.999999999-0700", word); err != nil {
			return 0, "", decode.ReasonUnknownFormat
		}
	}
	if micros = t.UnixMicro(); micros <= 0 || micros > latest {
		return 0, "", decode.ReasonValue
	}
	return micros, rest, ""
}

// twoDigits reads a number of two digits, the first of which may be a space;
// -1 if there is none.
func twoDigits(s string) int {
	a, b := s[0], s[1]
	if a == ' ' {
		a = '0'
	}
	if a < '0' || a > '9' || b < '0' || b > '9' {
		return -1
	}
	return int(a-'0')*10 + int(b-'0')
}

// fraction reads the digits behind a point as nanoseconds.
func fraction(s string) (nanos int, rest string) {
	unit := 100_000_000
	for s != "" && s[0] >= '0' && s[0] <= '9' {
		nanos += int(s[0]-'0') * unit
		unit /= 10
		s = s[1:]
	}
	return nanos, s
}

// uptime cuts the seconds since boot off a kernel's message: "[   12.345678] ".
func uptime(s string) string {
	if !strings.HasPrefix(s, "[") {
		return s
	}
	end := strings.IndexByte(s[:min(len(s), 24)], ']')
	if end < 0 || strings.Trim(s[1:end], " .0123456789") != "" {
		return s
	}
	return strings.TrimLeft(s[end+1:], " ")
}

func (d *Decoder) setRef(micros string) {
	if n, err := strconv.ParseInt(micros, 10, 64); err == nil {
		if t := time.UnixMicro(n); t.After(d.ref) {
			d.ref = t
		}
	}
}
