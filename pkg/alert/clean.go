package alert

import (
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// clip makes a foreign string safe for documents and terminals and at most
// limit bytes long; what was cut shows as "…".
func clip(s string, limit int) string {
	if len(s) <= limit && plain(s) {
		return s
	}
	s = strings.Map(func(r rune) rune {
		// C0, DEL, C1, the line separators and the marks that turn text
		// around: none has a place in a log line.
		switch {
		case r < 0x20, r >= 0x7f && r <= 0x9f, r == 0x2028, r == 0x2029, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
	if len(s) <= limit {
		return s
	}
	cut := max(0, limit-len("…"))
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// plain reports whether s is printable ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func clipAll(list []string, limit, n int) []string {
	if len(list) > n {
		list = list[:n]
	}
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = clip(s, limit)
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// iso is a time in ISO 8601 with milliseconds, UTC; "" for 0. Years that ISO
// cannot write are clamped to the ends of its calendar.
func iso(micros int64) string {
	if micros == 0 {
		return ""
	}
	const minYear, maxYear = -62135596800_000_000, 253402300799_000_000
	return time.UnixMicro(max(minYear, min(maxYear, micros))).UTC().Format("2006-01-02T15:04:05.000Z")
}

// isoAlways is iso for fields that must be present.
func isoAlways(micros int64) string {
	if micros == 0 {
		return "1970-01-01T00:00:00.000Z"
	}
	return iso(micros)
}

func parseISO(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0
	}
	return t.UnixMicro()
}

// address returns s as an address for an ECS ip field, "" when it is none.
func address(s string) string {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return ""
	}
	return a.Unmap().String()
}
