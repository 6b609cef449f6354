package zeek_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/segmentio/encoding/json"
	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// cell is one field of a record as Zeek holds it, before a writer made text
// of it. v is nil (unset), bool, uint64, float64 (an interval), string, addr
// or a list of these.
type cell struct {
	name string
	v    any
}

type (
	addr  string // written bare in TSV
	stamp int64  // microseconds
)

// record draws a record of a log; any field but the needed ones may be unset.
func record(t *rapid.T) (path string, cells []cell) {
	ip := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) addr {
			return addr(fmt.Sprintf("%d.%d.%d.%d", rapid.Byte().Draw(t, "a"), rapid.Byte().Draw(t, "b"), rapid.Byte().Draw(t, "c"), rapid.Byte().Draw(t, "d")))
		}),
		rapid.Custom(func(t *rapid.T) addr {
			return addr(fmt.Sprintf("2001:db8::%x:%x", rapid.Uint16().Draw(t, "a"), rapid.Uint16().Draw(t, "b")))
		}))
	path = rapid.SampledFrom([]string{"conn", "dns", "http", "smtp", "ssl", "files", "weird", "quic", "stats"}).Draw(t, "path")
	add := func(name string, v any) { cells = append(cells, cell{name, v}) }
	optional := func(name string, v any) {
		if rapid.IntRange(0, 3).Draw(t, "set "+name) > 0 {
			add(name, v)
		} else {
			add(name, nil)
		}
	}
	counter := func(name string) { optional(name, rapid.Uint64Max(1<<33).Draw(t, name)) }
	span := func(name string) {
		optional(name, rapid.OneOf(rapid.Float64Range(0, 1), rapid.Float64Range(0, 1e5)).Draw(t, name))
	}
	// Zeek's own text never holds the four characters that it writes for a
	// byte: JSON cannot tell them apart.
	text := rapid.OneOf(
		rapid.StringMatching(`[a-z0-9]{0,12}(\.[A-Za-z0-9-]{1,12}){1,4}`),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 20), func(b []byte) string { return string(b) }),
		rapid.StringN(0, 20, -1),
		rapid.SampledFrom([]string{"-", "(empty)", "#x", "", "a,b", "a\tb", "a|b", "\\", "\\\\", "x\\y", "\u00e4", "<unknown type=10>", "TXT 3 a\x04\x96 TXT 0 "}),
	).Filter(func(s string) bool { return !strings.Contains(s, `\x`) && !strings.Contains(s, `\\`) && !pua(s) })
	str := func(name string) { optional(name, text.Draw(t, name)) }

	add("ts", stamp(rapid.Int64Range(-1e14, 4e15).Draw(t, "ts")))
	if path == "stats" {
		str("peer")
		counter("pkts_proc")
		counter("pkts_link")
		counter("pkts_dropped")
		return path, cells
	}
	optional("uid", "C"+rapid.StringMatching(`[A-Za-z0-9]{10,17}`).Draw(t, "uid"))
	add("id.orig_h", ip.Draw(t, "orig"))
	optional("id.orig_p", rapid.Uint64Max(65535).Draw(t, "orig_p"))
	add("id.resp_h", ip.Draw(t, "resp"))
	optional("id.resp_p", rapid.Uint64Max(65535).Draw(t, "resp_p"))
	switch path {
	case "conn":
		optional("proto", rapid.SampledFrom([]string{"tcp", "udp", "icmp", "unknown_transport"}).Draw(t, "proto"))
		optional("service", rapid.SampledFrom([]string{"ssl", "http,ssl", "-ssl", "dns"}).Draw(t, "service"))
		span("duration")
		for _, name := range []string{"orig_bytes", "resp_bytes", "missed_bytes", "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes"} {
			counter(name)
		}
		str("history")
	case "dns":
		counter("trans_id")
		span("rtt")
		str("query")
		optional("qtype_name", rapid.SampledFrom([]string{"A", "TXT", "query-65399", "*", "CNAME"}).Draw(t, "qtype_name"))
		optional("rcode_name", rapid.SampledFrom([]string{"NOERROR", "rcode-17"}).Draw(t, "rcode_name"))
		optional("answers", rapid.SliceOfN(rapid.OneOf(text, rapid.Map(ip, func(a addr) string { return string(a) })), 0, 5).Filter(tellable).Draw(t, "answers"))
		optional("TTLs", rapid.SliceOfN(rapid.Float64Range(0, 86400), 0, 3).Draw(t, "TTLs"))
	case "http":
		for _, name := range []string{"method", "host", "uri", "user_agent"} {
			str(name)
		}
		counter("request_body_len")
		counter("status_code")
	case "smtp":
		str("mailfrom")
		optional("rcptto", rapid.SliceOfN(text, 0, 3).Filter(tellable).Draw(t, "rcptto"))
		optional("tls", rapid.Bool().Draw(t, "tls"))
	case "ssl", "quic":
		for _, name := range []string{"version", "server_name", "ja3", "ja4", "next_protocol", "client_protocol"} {
			str(name)
		}
		optional("established", rapid.Bool().Draw(t, "established"))
	case "files":
		str("fuid")
		str("filename")
		str("source")
		counter("seen_bytes")
		optional("is_orig", rapid.Bool().Draw(t, "is_orig"))
	case "weird":
		str("name")
	}
	return path, cells
}

// tellable reports whether TSV can tell the list from an empty one.
func tellable(list []string) bool { return len(list) != 1 || list[0] != "" }

func pua(s string) bool {
	for _, r := range s {
		if r >= 0xF0000 && r <= 0xF00FF {
			return true
		}
	}
	return false
}

// escape writes text as Zeek does: control bytes and what is not UTF-8 as
// \xNN, and whatever else must not stand as it is.
func escape(s string, also ...string) string {
	var b strings.Builder
	for len(s) > 0 {
		if i := prefixOf(s, also); i > 0 {
			for _, c := range []byte(s[:i]) {
				fmt.Fprintf(&b, `\x%02x`, c)
			}
			s = s[i:]
			continue
		}
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 || r < 0x20 || r == 0x7f {
			fmt.Fprintf(&b, `\x%02x`, s[0])
			n = 1
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

func prefixOf(s string, list []string) int {
	for _, p := range list {
		if strings.HasPrefix(s, p) {
			return len(p)
		}
	}
	return 0
}

type tsvStyle struct{ sep, setSep, empty, unset string }

func (w tsvStyle) text(v any, inList bool) string {
	switch v := v.(type) {
	case nil:
		return w.unset
	case bool:
		return map[bool]string{true: "T", false: "F"}[v]
	case uint64:
		return strconv.FormatUint(v, 10)
	case float64:
		return fmt.Sprintf("%.6f", v)
	case stamp:
		return seconds(v)
	case addr:
		return string(v)
	case string:
		// Text that ends like the separator begins would be cut there.
		also := []string{w.sep[:1]}
		if inList {
			also = append(also, w.setSep)
		}
		switch v {
		case "":
			return w.empty
		case w.empty, w.unset:
			return fmt.Sprintf(`\x%02x`, v[0]) + escape(v[1:], also...)
		}
		return strings.ReplaceAll(escape(strings.ReplaceAll(v, `\`, "\x00BS"), also...), `\x00BS`, `\\`)
	case []string:
		return join(v, w)
	case []float64:
		return join(v, w)
	}
	panic(fmt.Sprintf("%T", v))
}

func join[T any](list []T, w tsvStyle) string {
	if len(list) == 0 {
		return w.empty
	}
	var out []string
	for _, v := range list {
		out = append(out, w.text(v, true))
	}
	return strings.Join(out, w.setSep)
}

func seconds(us stamp) string {
	sign := ""
	if us < 0 {
		sign, us = "-", -us
	}
	return fmt.Sprintf("%s%d.%06d", sign, us/1e6, us%1e6)
}

// tsvLog writes a file of one row.
func (w tsvStyle) log(path string, cells []cell) []byte {
	var names, row []string
	for _, c := range cells {
		names = append(names, c.name)
		row = append(row, w.text(c.v, false))
	}
	line := strings.Join(row, w.sep)
	if line[0] == '#' {
		line = `\x23` + line[1:]
	}
	return []byte("#separator " + escape(w.sep, w.sep) + "\n#set_separator" + w.sep + w.setSep + "\n#empty_field" + w.sep + w.empty +
		"\n#unset_field" + w.sep + w.unset + "\n#path" + w.sep + path + "\n#fields" + w.sep + strings.Join(names, w.sep) + "\n" + line + "\n")
}

// jsonText writes a value as Zeek's JSON formatter does.
func jsonText(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case stamp:
		return seconds(v)
	case addr:
		return strconv.Quote(string(v))
	case string:
		var b strings.Builder
		for _, r := range escape(v, "\b", "\f") {
			if r == '\\' || r == '"' {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
		}
		// Zeek leaves these to JSON's own escapes.
		return `"` + strings.NewReplacer(`\\x08`, `\b`, `\\x09`, `\t`, `\\x0a`, `\n`).Replace(b.String()) + `"`
	case []string:
		var out []string
		for _, s := range v {
			out = append(out, jsonText(s))
		}
		return "[" + strings.Join(out, ",") + "]"
	case []float64:
		var out []string
		for _, s := range v {
			out = append(out, jsonText(s))
		}
		return "[" + strings.Join(out, ",") + "]"
	}
	return fmt.Sprint(v)
}

// outcomes is a sink that keeps a line for each outcome but headers.
type outcomes struct{ list []string }

func (s *outcomes) Event(e *event.Event) {
	line, err := e.Append(nil)
	if err != nil {
		line = []byte(err.Error())
	}
	s.list = append(s.list, string(line))
}

func (s *outcomes) Ignored(reason string) {
	if reason != "header" {
		s.list = append(s.list, "ignored: "+reason)
	}
}

func (s *outcomes) Dead(reason string, raw []byte, _ event.Origin) {
	s.list = append(s.list, "dead: "+reason+": "+string(raw))
}

func one(t *rapid.T, o zeek.Options, in []byte) string {
	var s outcomes
	d := zeek.New(o)
	for line := range bytes.Lines(in) {
		d.Line(bytes.TrimSuffix(line, []byte{'\n'}), event.Origin{}, &s)
	}
	if len(s.list) != 1 {
		t.Fatalf("%d outcomes of one record:\n%s\n%q", len(s.list), in, s.list)
	}
	return s.list[0]
}

// Whatever a record holds and whatever separators the site chose, TSV and
// JSON give one and the same event; and so does every way in which JSON is
// shipped.
func TestFormsAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		path, cells := record(t)
		style := rapid.SampledFrom([]tsvStyle{
			{"\t", ",", "(empty)", "-"}, {"|", ";", "EMPTY", "NOT-SET"}, {"||", "\xc2\xae", "(none)", "~"}, {"\x01", ",", "(empty)", "-"},
		}).Draw(t, "style")
		want := one(t, zeek.Options{}, style.log(path, cells))
		if !strings.HasPrefix(want, `{"kind":`) {
			t.Fatalf("no event of %q: %s", style.log(path, cells), want)
		}

		space := rapid.SampledFrom([]string{"", " ", " \t "}).Draw(t, "space")
		var fields, nested []string
		for _, c := range rapid.Permutation(cells).Draw(t, "order") {
			if c.v == nil && rapid.Bool().Draw(t, "omit "+c.name) {
				continue
			}
			name := c.name
			if short, ok := strings.CutPrefix(name, "id."); ok {
				nested = append(nested, `"`+short+`":`+space+jsonText(c.v))
				name = rapid.SampledFrom([]string{"id.", "id_"}).Draw(t, "scope") + short
			}
			fields = append(fields, `"`+name+`"`+space+`:`+space+jsonText(c.v))
			if rapid.IntRange(0, 9).Draw(t, "extra") == 0 {
				fields = append(fields, `"x_`+name+`":{"ts":[1,"}",{}],"query":"no"}`)
			}
		}
		plain := "{" + space + strings.Join(fields, space+","+space) + space + "}"
		flat := func(f string) bool { return strings.HasPrefix(f, `"id.`) || strings.HasPrefix(f, `"id_`) }
		var rest []string
		for _, f := range fields {
			if !flat(f) {
				rest = append(rest, f)
			}
		}
		message, err := json.Marshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name string
			o    zeek.Options
			in   string
		}{
			{"hint", zeek.Options{Path: "/logs/" + path + ".2026-11-23.log"}, plain},
			{"_path", zeek.Options{}, `{"_path":"` + path + `",` + strings.TrimPrefix(plain, "{")},
			{"tag", zeek.Options{}, `{"` + path + `":` + plain + `,"SITE":"hq"}`},
			{"nested", zeek.Options{Path: path}, `{"id":{` + strings.Join(nested, ",") + `},` + strings.Join(rest, ",") + `}`},
			{"general", zeek.Options{Path: path}, strings.Replace(plain, `"ts"`, `"\u0074s"`, 1)},
			{"message", zeek.Options{}, `{"log":{"file":{"path":"/x/` + path + `.log"}},"message":` + string(message) + `}`},
		} {
			if path == "stats" && c.name == "nested" {
				continue
			}
			if got := one(t, c.o, []byte(c.in)); got != want {
				t.Fatalf("%s of %s:\n%s\ngot  %s\nwant %s", c.name, path, c.in, got, want)
			}
		}
	})
}

// A decoder that begins in the middle of a file with the header of the first
// one goes on as if it had read all of it.
func TestResume(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var file []byte
		for range rapid.IntRange(1, 4).Draw(t, "blocks") {
			path, cells := record(t)
			style := rapid.SampledFrom([]tsvStyle{{"\t", ",", "(empty)", "-"}, {"|", ";", "EMPTY", "NOT-SET"}}).Draw(t, "style")
			block := style.log(path, cells)
			file = append(file, block...)
			file = append(file, block[bytes.LastIndexByte(block[:len(block)-1], '\n')+1:]...)
		}
		lines := bytes.SplitAfter(bytes.TrimSuffix(file, []byte{'\n'}), []byte{'\n'})
		cut := rapid.IntRange(0, len(lines)).Draw(t, "cut")
		var whole, rest outcomes
		d := zeek.New(zeek.Options{})
		var header []byte
		var before int
		for i, line := range lines {
			if i == cut {
				header, before = d.Header(), len(whole.list)
			}
			d.Line(bytes.TrimSuffix(line, []byte{'\n'}), event.Origin{Line: event.N(i + 1)}, &whole)
		}
		if cut == len(lines) {
			header, before = d.Header(), len(whole.list)
		}
		d2 := zeek.New(zeek.Options{})
		d2.SetHeader(bytes.Clone(header))
		for i := cut; i < len(lines); i++ {
			d2.Line(bytes.TrimSuffix(lines[i], []byte{'\n'}), event.Origin{Line: event.N(i + 1)}, &rest)
		}
		if got, want := rest.list, whole.list[before:]; !slices.Equal(got, want) {
			t.Fatalf("resumed at line %d with %q:\ngot  %q\nwant %q", cut+1, header, got, want)
		}
		if cut > 0 && len(header) == 0 {
			t.Fatalf("no header after %q", lines[:cut])
		}
	})
}

// JSON has the full digits of a double and TSV six decimals: both are the
// same microseconds.
func TestIntervalsAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		x := rapid.OneOf(
			rapid.Float64Range(0, 1e-4), rapid.Float64Range(0, 1), rapid.Float64Range(0, 1e5),
			// values about halfway between two microseconds
			rapid.Map(rapid.Uint64Max(1<<40), func(n uint64) float64 { return (float64(n) + 0.5) / 1e6 }),
			rapid.Map(rapid.Uint64Max(1<<40), func(n uint64) float64 { return math.Nextafter((float64(n)+0.5)/1e6, 0) }),
		).Filter(func(x float64) bool { return x < 80000 }).Draw(t, "x")
		const head = `{"_path":"dns","ts":1,"id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2","rtt":`
		want := one(t, zeek.Options{}, []byte(head+strconv.FormatFloat(x, 'f', 6, 64)+`}`))
		for _, format := range []byte{'f', 'e', 'g'} {
			if got := one(t, zeek.Options{}, []byte(head+strconv.FormatFloat(x, format, -1, 64)+`}`)); got != want {
				t.Fatalf("%v: got %s want %s", x, got, want)
			}
		}
		if !strings.Contains(want, `"dns.rtt":`) {
			t.Fatalf("%v: no rtt in %s", x, want)
		}
	})
}
