package resolver_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/encoding/json"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/resolver"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const query = `{"version":"1.100000","account_id":"111122223333","region":"eu-central-1","vpc_id":"vpc-0a1","query_timestamp":"2026-01-05T10:00:00Z",` +
	`"query_name":"Data.Tunnel.EXAMPLE.","query_type":"TXT","query_class":"IN","rcode":"NOERROR","answers":[{"Rdata":"\"hello\"","Type":"TXT","Class":"IN"},` +
	`{"Rdata":"192.0.2.7","Type":"A","Class":"IN"}],"srcaddr":"10.0.3.7","srcport":"56067","transport":"UDP","srcids":{"instance":"i-0d15cd0d3c0ffee00"}}`

func TestRecord(t *testing.T) {
	t.Parallel()
	r := decodetest.New(t)
	var got []string
	r.Each = func(e *event.Event) {
		got = append(got, fmt.Sprintln(e.Kind, e.Time, e.DNS.Name, e.DNS.Type, e.DNS.ResponseCode, e.DNS.Addresses, e.DNS.Answers.Or(0), e.DNS.DataBytes.Or(0),
			e.Source.IP, e.Source.Port.Or(0), e.Network.Transport, e.Flow.VPC, e.Flow.InstanceID, e.Observer.Type))
	}
	resolver.New().Line([]byte(query), event.Origin{Name: "q"}, r)
	want := []string{fmt.Sprintln(event.KindDNS, int64(1767607200000000), "data.tunnel.example", "TXT", "NOERROR", "[192.0.2.7]", uint64(2), uint64(5),
		"10.0.3.7", uint64(56067), "udp", "vpc-0a1", "i-0d15cd0d3c0ffee00", "resolver")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func wrap(records ...string) string {
	var events []string
	for _, r := range records {
		text, _ := json.Marshal(r)
		events = append(events, `{"id":"1","timestamp":1,"message":`+string(text)+`}`)
	}
	return `{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":[],"logEvents":[` + strings.Join(events, ",") + `]}`
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	without := func(key string) string { return strings.Replace(query, `"`+key+`"`, `"x`+key+`"`, 1) }
	for name, c := range map[string]struct {
		line   string
		events int
		reason string // of what is dead or ignored
	}{
		"a record":        {query, 1, ""},
		"CloudWatch":      {wrap(query, query), 2, ""},
		"Firehose":        {`{"message":` + query + `}`, 1, ""},
		"control message": {`{"messageType":"CONTROL_MESSAGE","logEvents":[]}`, 0, "control_message"},
		"blank":           {"  ", 0, "blank"},
		"no name":         {without("query_name"), 0, decode.ReasonMissing},
		"no time":         {without("query_timestamp"), 0, decode.ReasonMissing},
		"no client":       {without("srcaddr"), 0, decode.ReasonMissing},
		"no address":      {strings.Replace(query, "10.0.3.7", "host", 1), 0, decode.ReasonValue},
		"no date":         {strings.Replace(query, "2026-01", "2026-13", 1), 0, decode.ReasonValue},
		"cut":             {query[:100], 0, decode.ReasonJSON},
		"deep":            {`{"query_name":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, 0, decode.ReasonTooDeep},
		"something else":  {`{"a":1}`, 0, decode.ReasonUnknownFormat},
		"a long name":     {strings.Replace(query, "Data", strings.Repeat("a", 2000), 1), 0, decode.ReasonTooLong},
		"broken inside":   {wrap(query, query[:50]), 1, decode.ReasonJSON},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := decodetest.New(t)
			resolver.New().Line([]byte(c.line), event.Origin{}, r)
			want := c.events
			if c.reason != "" {
				want++
			}
			if r.Events != c.events || r.Total() != want || c.reason != "" && r.Deads[c.reason]+r.Ignores[c.reason] != 1 {
				t.Errorf("%d events, ignored %v, dead %v", r.Events, r.Ignores, r.Deads)
			}
		})
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		".": ".", "A.b.": "a.b", `a\.b.c.`: `a\x2eb.c`, `\031x.`: `\x1fx`, `\\.`: `\x5c`, `a\255.`: `a\xff`, `a\999.`: `a\x5c999`, "é.": `\xc3\xa9`,
	} {
		r := decodetest.New(t)
		got := ""
		r.Each = func(e *event.Event) { got = strings.Clone(e.DNS.Name) }
		name, _ := json.Marshal(in)
		resolver.New().Line([]byte(strings.Replace(query, `"Data.Tunnel.EXAMPLE."`, string(name), 1)), event.Origin{}, r)
		if got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, s := range []string{query, wrap(query, query), `{"message":` + query + `}`, query[:60], `{"messageType":"CONTROL_MESSAGE"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r := decodetest.New(t)
		r.Quiet = true
		resolver.New().Line(line, event.Origin{}, r)
		if r.Total() == 0 {
			t.Error("a line without an outcome")
		}
	})
}

type counter struct{ events, others int }

func (c *counter) Event(*event.Event)                { c.events++ }
func (c *counter) Ignored(string)                    { c.others++ }
func (c *counter) Dead(string, []byte, event.Origin) { c.others++ }

// varied are n distinct records.
func varied(n int) (out [][]byte) {
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		r := strings.Replace(query, "Data.", fmt.Sprintf("%x-%d.", rng.Uint64(), i), 1)
		r = strings.Replace(r, "10.0.3.7", fmt.Sprintf("10.%d.%d.%d", rng.IntN(9), rng.IntN(256), rng.IntN(256)), 1)
		out = append(out, []byte(strings.Replace(r, "10:00:00", fmt.Sprintf("10:%02d:%02d", rng.IntN(60), rng.IntN(60)), 1)))
	}
	return out
}

// Not parallel: AllocsPerRun counts the allocations of the whole process.
func TestAllocations(t *testing.T) { //nolint:paralleltest // see above
	in, d, sink := varied(200), resolver.New(), &counter{}
	i := 0
	n := testing.AllocsPerRun(1000, func() { d.Line(in[i%len(in)], event.Origin{}, sink); i++ })
	if n > 8 || sink.others > 0 {
		t.Errorf("%v allocations a record, at most 8 are allowed; %d are no events", n, sink.others)
	}
}

// BenchmarkLine stands beside a plain decode of the same bytes.
func BenchmarkLine(b *testing.B) {
	in := varied(100_000)
	rate := func(b *testing.B, do func(line []byte)) {
		b.Helper()
		b.SetBytes(int64(len(in[0])))
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			do(in[i])
			if i++; i == len(in) {
				i = 0
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	}
	b.Run("decoder", func(b *testing.B) {
		d, sink := resolver.New(), &counter{}
		rate(b, func(line []byte) { d.Line(line, event.Origin{}, sink) })
	})
	b.Run("segmentio", func(b *testing.B) {
		var m map[string]any
		rate(b, func(line []byte) {
			clear(m)
			if err := json.Unmarshal(line, &m); err != nil {
				b.Fatal(err)
			}
		})
	})
}
