package zeek

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"pgregory.net/rapid"
)

func TestTimestamps(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int64{
		"1521911720.615923":            1521911720_615923,
		"1521911720":                   1521911720_000000,
		"1521911720.6":                 1521911720_600000,
		"1521911720.6159231":           1521911720_615923,
		"1521911720615":                1521911720_615000,
		"1521911720615.923":            1521911720_615923,
		"1.521911720615923e9":          1521911720_615923,
		"1.521911720615e12":            1521911720_615000,
		"0":                            0,
		"0.000001":                     1,
		"12.5":                         12_500000,
		"-0.4":                         -400000,
		"-315619200":                   -315619200_000000,
		"18446743758090351616":         -315619200_000000,
		"1960-01-01T00:00:00.000000Z":  -315619200_000000,
		"1969-12-31T23:59:59.600000Z":  -400000,
		"2018-03-24T17:15:20.615923Z":  1521911720_615923,
		"2018-03-24T17:15:20Z":         1521911720_000000,
		"2018-03-24T17:15:20":          1521911720_000000,
		"2018-03-24T17:15:20.6Z":       1521911720_600000,
		"2018-03-24T17:15:20.61592349": 1521911720_615923,
		"2018-03-24T17:15:20.6159235Z": 1521911720_615924,
		"2018-03-24T17:15:19.1000000Z": 1521911720_000000,
		"2018-03-24T18:15:20+01:00":    1521911720_000000,
		"2018-03-24T12:45:20-0430":     1521911720_000000,
		"2016-02-29T00:00:00Z":         1456704000_000000,
	} {
		if got, ok := timestamp([]byte(in)); !ok || got != want {
			t.Errorf("%s: %d, %v, want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", "-", "T", "nan", "inf", "0x10", "1_0", "1e400", "1.2.3", "--1", "9999999999999999999999",
		"253402300800000", "2018-02-29T00:00:00Z", "2018-03-24T25:00:00Z", "2018-03-24T17:15:20+1", "2018-03-24T17:15:20.5ZZ",
		"2018-03-24T17:15:20+15:00", "2018/03/24T17:15:20Z", "XXXXXXXXXX.XXXXXX",
	} {
		if got, ok := timestamp([]byte(in)); ok {
			t.Errorf("%s: %d, want none", in, got)
		}
	}
}

func TestISOTimesAgreeWithTheLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.Int64Range(-62135596800_000000, 253402300799_000000).Draw(t, "us")
		text := time.UnixMicro(us).UTC().Format("2006-01-02T15:04:05.000000Z07:00")
		if got, ok := timestamp([]byte(text)); !ok || got != us {
			t.Fatalf("%s: %d, %v, want %d", text, got, ok, us)
		}
	})
}

func TestCounts(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]uint64{
		"0": 0, "00": 0, "42": 42, "9007199254740992": 1 << 53, "500.0": 500, "1e3": 1000, "00000000000000000042": 42, "-0": 0,
	} {
		if got, ok := count([]byte(in)); !ok || got != want {
			t.Errorf("%s: %d, %v, want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "-", "-1", "9007199254740993", "99999999999999999", "18446744073709551615", "1.5", "x", "1e99", "NaN", "0x1", "T"} {
		if got, ok := count([]byte(in)); ok {
			t.Errorf("%s: %d, want none", in, got)
		}
	}
}

func TestAddressesAgreeWithTheLibrary(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "::ffff:10.0.0.1": "10.0.0.1", "fe80::1%eth0": "fe80::1", "::": "::", "2001:DB8::1": "2001:db8::1",
		"10.0.0.01": "", "10.0.0": "", "10.0.0.1.2": "", "256.0.0.1": "", "": "", ".": "", "1...2": "", "10.0.0.1%eth0": "",
		"fe80::1%": "fe80::1", "a.b.c.d": "", "[::1]": "", " 10.0.0.1": "", "abc": "", "dead:beef": "",
	} {
		a, ok := parseAddr([]byte(in))
		if ok != (want != "") || ok && a.String() != want {
			t.Errorf("%q: %v, %v, want %q", in, a, ok, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.OneOf(rapid.StringMatching(`[0-9]{0,4}(\.[0-9]{0,4}){0,5}`), rapid.StringMatching(`[0-9a-f]{0,4}(:[0-9a-f]{0,5}){1,8}`)).Draw(t, "in")
		want, err := netip.ParseAddr(in)
		got, ok := parseAddr([]byte(in))
		if ok != (err == nil) || ok && got != want.Unmap() {
			t.Fatalf("%q: %v, %v, want %v, %v", in, got, ok, want, err)
		}
	})
}

func TestHostNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Example.COM": "example.com", "example.com.": "example.com", "example.com:8080": "example.com", "example.com:": "example.com",
		"[::1]:80": "[::1]", "[::1]": "[::1]", "::1": "::1", "2001:db8::80": "2001:db8::80", "10.0.0.1:443": "10.0.0.1", "": "", ".": ".", ":": ":", "443": "443",
	} {
		d := New(Options{})
		d.rec.put(fHost, value{b: []byte(in), kind: kindTSV})
		if got := d.hostName(fHost); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestStringLengths(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]int{
		"TXT 4 more than it says": len("more than it says"),
		"TXT 3 foo":               3,
		"TXT 3 foo TXT 2 ba":      5,
		"TXT 3 foo TXT 0 ":        3,
		"TXT 0 ":                  0,
		"TXT 255 cut":             255,
		"TXT 11 TXT 3 inner":      11,
		"TXT 3 foo SPF 2 ba":      len("TXT 3 foo SPF 2 ba") - len("TXT 3 "),
		"TXT 256 x":               9,
		"TXT 99999999999999999 ":  22,
		"SPF 2 ab":                2,
	} {
		if got, ok := stringBytes([]byte(in)); !ok || got != want {
			t.Errorf("%q: %d, %v, want %d", in, got, ok, want)
		}
	}
	if _, ok := stringBytes([]byte("txt.example.com")); ok {
		t.Error("a name is no TXT record")
	}
}

// What a name, a tag and the fields say about a record's log, in that order.
func TestDecide(t *testing.T) {
	t.Parallel()
	conn := []field{fTS, fConnState, fOrigIPBytes}
	dns := []field{fTS, fQuery, fTransID}
	exfil := []field{fTS, fQuery, fEntropy, fTXTSize, fQTypeName}
	for _, c := range []struct {
		hint, path string
		fields     []field
		want       logType
		open       bool
	}{
		{"", "conn", dns, logConn, false},
		{"dns.log", "conn", conn, logConn, false},
		{"open_conn.log", "conn", conn, logConn, true},
		{"", "open_ssl", nil, logSSL, true},
		{"", "CONN", conn, logConn, false},
		{"", "conn-2", conn, logConn, false},
		{"", "http_kafka", []field{fTransDepth, fURI}, logHTTP, false},
		{"", "dns_exfil-w1", exfil, logExfil, false},
		{"", "dns_summary", nil, logOther, false},
		{"", "dns_summary", conn, logOther, false},
		{"", "conn_long", conn, logConn, true},
		{"", "mine", conn, logOther, false},
		{"", "ssh", conn, logOther, false},
		{"/a/b/conn.10:00:00-11:00:00.log.gz", "", nil, logConn, false},
		{`C:\logs\dns.log`, "", dns, logDNS, false},
		{"capture.dns.log.gz", "", dns, logDNS, false},
		{"zeek", "", conn, logConn, false},
		{"zeek", "", nil, logUnknown, false},
		{"notice", "", conn, logConn, false}, // a topic of that name may carry all
		{"conn", "", dns, logDNS, false},
		{"dns", "", exfil, logExfil, false},
		{"dns_exfil.log", "", exfil, logExfil, false},
		{"http.log", "", []field{fTS, fHost}, logHTTP, false},
		{"", "", []field{fTS, fHistory}, logConn, false},
		{"", "", []field{fTS, fHistory, fClientDCID}, logQUIC, false},
		{"", "", []field{fTS, fTransID, fRejected}, logDNS, false},
		{"", "", []field{fTS, fTransID}, logUnknown, false}, // dhcp
		{"", "", append(dns, fEntropy), logDNS, false},      // a site's own column
		{"", "", []field{fCipher}, logSSL, false},
		{"", "", []field{fServerName, fEstablished}, logSSL, false},
		{"", "", []field{fTransDepth, fMethod, fURI}, logHTTP, false},
		{"", "", []field{fTransDepth, fMethod, fURI, fSIP}, logOther, false},
		{"", "", []field{fTransDepth, fHelo}, logSMTP, false},
		{"", "", []field{fFUID, fSeenBytes}, logFiles, false},
		{"", "", []field{fName, fPeer, fNotice}, logWeird, false},
		{"", "", []field{fPktsProc, fPeer}, logStats, false},
		{"", "", []field{fPercentLost, fAcks}, logLoss, false},
		{"", "", []field{fNote, fUID, fFUID}, logOther, false},
	} {
		d := New(Options{Path: c.hint})
		var set fieldSet
		for _, f := range c.fields {
			set = set.with(f)
		}
		if got, open := d.decide([]byte(c.path), set); got != c.want || open != c.open {
			t.Errorf("%+v: %d, %v", c, got, open)
		}
	}
}

// kept is a sink that keeps the last outcome.
type kept struct {
	e      event.Event
	events int
	reason string
}

func (s *kept) Event(e *event.Event)                    { s.e = *e; s.events++ }
func (s *kept) Ignored(reason string)                   { s.reason = "ignored " + reason }
func (s *kept) Dead(r string, _ []byte, _ event.Origin) { s.reason = "dead " + r }

func TestBounds(t *testing.T) {
	t.Parallel()
	line := func(d *Decoder, s string) *kept {
		var k kept
		d.Line([]byte(s), event.Origin{}, &k)
		return &k
	}
	const head = `{"_path":"dns","ts":1,"id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2",`

	t.Run("long line", func(t *testing.T) {
		t.Parallel()
		d := New(Options{MaxLine: 1000})
		if k := line(d, head+`"query":"`+strings.Repeat("a", 1000)+`"}`); k.reason != "dead "+decode.ReasonTooLong {
			t.Errorf("%q", k.reason)
		}
	})
	t.Run("memory for text does not stay", func(t *testing.T) {
		t.Parallel()
		d := New(Options{})
		big := head + `"query":"` + strings.Repeat(`\\xe4`, 100_000) + `"}`
		if k := line(d, big); k.events != 1 || len(k.e.DNS.Name) != 400_000 {
			t.Fatalf("%q, a name of %d bytes", k.reason, len(k.e.DNS.Name))
		}
		line(d, head+`"query":"a"}`)
		if c := cap(d.scratch); c > maxScratch {
			t.Errorf("%d bytes kept", c)
		}
	})
	t.Run("lists", func(t *testing.T) {
		t.Parallel()
		list := strings.TrimSuffix(strings.Repeat(`"198.51.100.7",`, 5000), ",")
		if k := line(New(Options{}), head+`"answers":[`+list+`]}`); len(k.e.DNS.Addresses) != maxAddresses || k.e.DNS.Answers != event.N(5000) {
			t.Errorf("%d addresses of %v answers", len(k.e.DNS.Addresses), k.e.DNS.Answers)
		}
		smtp := strings.Replace(head, "dns", "smtp", 1)
		if k := line(New(Options{}), smtp+`"rcptto":[`+list+`]}`); len(k.e.Mail.To) != maxRecipients {
			t.Errorf("%d recipients", len(k.e.Mail.To))
		}
	})
	t.Run("header", func(t *testing.T) {
		t.Parallel()
		d := New(Options{})
		line(d, "#fields\tts\tuid\t"+strings.Repeat("x", maxHeader))
		if k := line(d, "1\tC\tx"); k.reason != "dead "+ReasonNoHeader {
			t.Errorf("a row is read by a header that a restart would not have: %q", k.reason)
		}
		if h := d.Header(); len(h) > maxHeader {
			t.Errorf("a header of %d bytes", len(h))
		}
		for i := range 10_000 {
			line(d, "#path\tconn"+strconv.Itoa(i))
		}
		line(d, "#fields\tts\tuid")
		if k := line(d, "1\tC"); k.reason != "ignored other_log" {
			t.Errorf("a header said often is still one: %q", k.reason)
		}
	})
	t.Run("directives behind a long list of columns", func(t *testing.T) {
		t.Parallel()
		d := New(Options{})
		line(d, "#fields\tts\tuid"+strings.Repeat("\tx", maxHeader/2-100))
		before := &d.head.columns.fields[0]
		line(d, "#path\tdns")
		if &d.head.columns.fields[0] != before || d.head.columns.log != logDNS {
			t.Error("every short directive makes the long list anew")
		}
	})
	t.Run("depth", func(t *testing.T) {
		t.Parallel()
		deep := func(n int) string { return head + `"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}` }
		if k := line(New(Options{}), deep(maxDepth)); k.events != 1 {
			t.Errorf("%d levels: %q", maxDepth, k.reason)
		}
		if k := line(New(Options{MaxLine: 4 << 20}), deep(1<<20)); k.reason != "dead "+decode.ReasonTooDeep {
			t.Errorf("%d levels: %q", 1<<20, k.reason)
		}
		nested := strings.Repeat(`{"id":`, 100) + "1" + strings.Repeat("}", 100)
		if k := line(New(Options{}), nested); !strings.HasPrefix(k.reason, "dead ") {
			t.Errorf("ids within ids: %q", k.reason)
		}
	})
}

// Unknown fields in any place and of any shape change nothing.
func TestUnknownFieldsChangeNothing(t *testing.T) {
	t.Parallel()
	fields := []string{`"_path":"conn"`, `"ts":1795430055.5`, `"uid":"C1"`, `"id.orig_h":"10.0.0.1"`, `"id.orig_p":1`, `"id.resp_h":"10.0.0.2"`, `"id.resp_p":2`, `"orig_bytes":3`, `"proto":"tcp"`}
	var want kept
	New(Options{}).Line([]byte("{"+strings.Join(fields, ",")+"}"), event.Origin{}, &want)
	if want.events != 1 {
		t.Fatal(want.reason)
	}
	rapid.Check(t, func(t *rapid.T) {
		mixed := slices.Clone(fields)
		for range rapid.IntRange(1, 5).Draw(t, "n") {
			name := rapid.StringMatching(`[a-z_.]{0,8}`).Filter(func(s string) bool { return fieldNamed([]byte(s)) == fNone && s != "id" }).Draw(t, "name")
			v := rapid.SampledFrom([]string{"1", "-1.5e7", `"x"`, `"\u00e4\\"`, "null", "true", "[]", "{}", `{"ts":[{"a":"]}"}]}`, `[[[]],"}"]`, "NaN"}).Draw(t, "value")
			mixed = slices.Insert(mixed, rapid.IntRange(0, len(mixed)).Draw(t, "at"), fmt.Sprintf("%q:%s", name, v))
		}
		var got kept
		line := "{" + strings.Join(mixed, ",") + "}"
		New(Options{}).Line([]byte(line), event.Origin{}, &got)
		a, _ := got.e.Append(nil)
		b, _ := want.e.Append(nil)
		if got.events != 1 || !bytes.Equal(a, b) {
			t.Fatalf("%s: %s\n%s\nwant %s", line, got.reason, a, b)
		}
	})
}
