package alert_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/ebbwatch/ebbwatch/pkg/alert"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/schemas"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files")

func compile(tb testing.TB, data []byte) *jsonschema.Schema {
	tb.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		tb.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		tb.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func alertSchema(tb testing.TB) *jsonschema.Schema {
	tb.Helper()
	data, err := schemas.FS.ReadFile("alert.json")
	if err != nil {
		tb.Fatal(err)
	}
	return compile(tb, data)
}

func ocsfSchema(tb testing.TB) *jsonschema.Schema {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "ocsf-2004.schema.json"))
	if err != nil {
		tb.Fatal(err)
	}
	return compile(tb, data)
}

func valid(s *jsonschema.Schema, data []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

func at(clock string) int64 {
	t, err := time.Parse(time.DateTime, "2026-03-02 "+clock)
	if err != nil {
		panic(err)
	}
	return t.UnixMicro()
}

// samples are alerts as the correlator makes them.
func samples() map[string]alert.Alert {
	single := alert.Alert{
		ID: signal.ID("a"), Revision: 1, Status: alert.Open, Notify: alert.NotifyFirst, Detector: "dns-tunnel",
		Time: at("10:31:07") + 123_456, First: at("10:02:11"), Created: at("10:31:09"), Window: alert.Window{Start: at("10:00:00"), End: at("11:00:00")},
		Severity: signal.High, Confidence: "high", Risk: alert.Risk(signal.High, "high", "", 9.0/5),
		Reason: "4.2 kB of data in 180 names below tunnel.example, none of them ever contacted",
		Entity: alert.Entity{
			Type: "host", Name: "web-1", Realm: "prod", Hosts: []string{"web-1"}, Instances: []string{"i-0abc"}, Addresses: []string{"prod|10.20.1.10"},
			Principals: []string{"arn:aws:iam::123456789012:role/app"}, Pods: []string{"shop/cart-7"}, Containers: []string{"3b1f"},
		},
		Source: signal.Endpoint{IP: "10.20.1.10"}, Destination: signal.Endpoint{IP: "10.53.0.53", Port: 53}, Channel: "dns", Subject: "tunnel.example",
		Technique: []string{"T1048.003", "T1071.004"},
		Points: []signal.Point{
			{Name: "name-data", Points: 3, Value: 4213, Threshold: 4096}, {Name: "never-contacted", Points: 3, Value: 180, Threshold: 100},
		},
		Signals: []alert.Signal{{ID: signal.ID("a"), Detector: "dns-tunnel", Role: "exfil", Score: 9, Alert: true}},
		Evidence: []signal.Evidence{
			{Topic: "ebb.network.v1", Partition: 3, Offset: 812, Name: "dns.log", Line: 55, At: 9123, Record: []byte(`{"kind":"dns","v":1,"dns.question.name":"ab.tunnel.example"}`)},
			{Topic: "ebb.network.v1", Partition: 3, Offset: 0, At: -1},
		},
		Completeness: []alert.Completeness{{Type: "cloudtrail", Until: at("10:20:00")}, {Type: "falco"}, {Type: "zeek", Ended: true}},
		Action:       alert.Action("dns-tunnel"),
	}
	joined := single
	joined.Revision, joined.Status, joined.Notify, joined.Detector = 2, alert.Updated, alert.NotifyRaised, alert.RuleJoined
	joined.Severity, joined.Risk, joined.Classification, joined.Action = signal.Critical, 98, "RESTRICTED", alert.ActionJoined
	joined.Reason = "web-1 read 734 MB, sent 741 MB nine minutes later"
	joined.Destination, joined.Channel = signal.Endpoint{IP: "203.0.113.9", Port: 443, Domain: "files.example"}, "tls"
	joined.Bytes, joined.Layer = new(uint64(741_000_000)), "ip"
	joined.Joined = &alert.Joined{
		Staged: alert.Half{
			Signal: signal.ID("s"), Detector: "archive-sensitive", Channel: "archive", Subject: "/var/lib/postgresql",
			Start: at("10:02:11"), End: at("10:04:09"), Bytes: new(uint64(734_000_000)), Layer: "file",
		},
		Sent: alert.Half{
			Signal: signal.ID("e"), Detector: "external-transfer", Channel: "tls", Start: at("10:13:09"), End: at("10:31:07"),
			Bytes: new(uint64(741_000_000)), Layer: "ip", Destination: joined.Destination,
		},
		Delta: 9, SameSize: true, Revision: 2,
	}
	retracted := single
	retracted.Revision, retracted.Status, retracted.Notify, retracted.SupersededBy = 3, alert.Retracted, alert.NotifyRetracted, signal.ID("b")
	closed := single
	closed.Revision, closed.Status, closed.Notify = 4, alert.Closed, ""
	closed.Verdict = &alert.Verdict{Verdict: "benign", By: "kim", Why: "planned export", Time: at("12:00:00")}
	rollup := alert.Alert{
		ID: signal.ID("r"), Revision: 1, Status: alert.Open, Notify: alert.NotifyFirst, Detector: "upload-ratio", Time: at("10:31:07"), First: at("10:02:11"),
		Severity: signal.Medium, Confidence: "low", Reason: "23 more alerts of upload-ratio on 2026-03-02 beyond the budget of 20",
		Entity: alert.Entity{Type: "rollup", Name: "many"}, Action: alert.Action("upload-ratio"),
		Rollup:      []alert.Rolled{{ID: signal.ID("x"), Entity: "db-1", Severity: "medium", Reason: "12 MB sent, 0.1 MB received"}},
		RollupTotal: 23,
	}
	return map[string]alert.Alert{"single": single, "joined": joined, "retracted": retracted, "closed": closed, "rollup": rollup}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func indent(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

func TestSamples(t *testing.T) {
	t.Parallel()
	schema, finding := alertSchema(t), ocsfSchema(t)
	for name, a := range samples() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := a.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := valid(schema, data); err != nil {
				t.Error(err)
			}
			golden(t, name+".ecs.json", indent(t, data))
			var back alert.Alert
			if err := alert.Decode(data, &back); err != nil {
				t.Fatal(err)
			}
			again, err := back.Append(nil)
			if err != nil || !bytes.Equal(data, again) {
				t.Errorf("decode and encode changes the document: %v\n%s", err, cmp.Diff(string(data), string(again)))
			}
			if data, err = a.AppendOCSF(nil); err != nil {
				t.Fatal(err)
			}
			if err := valid(finding, data); err != nil {
				t.Error(err)
			}
			golden(t, name+".ocsf.json", indent(t, data))
			golden(t, name+".txt", []byte(a.Text()))
		})
	}
}

func TestSchemaRejects(t *testing.T) {
	t.Parallel()
	schema := alertSchema(t)
	good := samples()["single"]
	data, err := good.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"kind":         {`"kind":"alert"`, `"kind":"signal"`},
		"time":         {`"@timestamp":"2026`, `"@timestamp":"26`},
		"status":       {`"status":"open"`, `"status":"new"`},
		"address":      {`"ip":"10.53.0.53"`, `"ip":"resolver"`},
		"extra":        {`"message":`, `"msg":1,"message":`},
		"id":           {`"id":"` + good.ID, `"id":"x` + good.ID},
		"severity":     {`"severity":73`, `"severity":"high"`},
		"points array": {`"points":{`, `"points":[],"x":{`},
	} {
		bad := strings.Replace(string(data), change[0], change[1], 1)
		if bad == string(data) {
			t.Fatalf("%s: nothing to change", name)
		}
		if err := valid(schema, []byte(bad)); err == nil {
			t.Errorf("%s: passes", name)
		}
	}
}

func text(t *rapid.T, label string) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"", "a", "web-1", "\x1b[31m", "\xff\xfe", `"\`, "\u2028\u202e", strings.Repeat("ж", 400), strings.Repeat("\x01", 5000), strings.Repeat(`"`, 3000)}),
		rapid.String(),
	).Draw(t, label)
}

func texts(t *rapid.T, label string) []string {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return "x" + text(t, label) }), 0, 40).Draw(t, label)
}

func drawAlert(t *rapid.T) alert.Alert {
	micros := func(label string) int64 { return rapid.Int64Range(1, 1<<52).Draw(t, label) }
	endpoint := func(label string) signal.Endpoint {
		return signal.Endpoint{
			IP:   rapid.SampledFrom([]string{"", "10.0.0.1", "2001:db8::1", "fe80::1%eth0", "nonsense", "::ffff:1.2.3.4"}).Draw(t, label),
			Port: rapid.Uint64().Draw(t, label), Domain: text(t, label),
		}
	}
	a := alert.Alert{
		ID: signal.ID(text(t, "id")), Revision: rapid.Uint64Range(1, 1<<63).Draw(t, "revision"),
		Status:   rapid.SampledFrom([]alert.Status{alert.Open, alert.Updated, alert.Suppressed, alert.Retracted, alert.Closed}).Draw(t, "status"),
		Notify:   rapid.SampledFrom([]alert.Notify{"", alert.NotifyFirst, alert.NotifyRaised, alert.NotifyRetracted}).Draw(t, "notify"),
		Detector: rapid.OneOf(rapid.SampledFrom(alert.RuleIDs()), rapid.Custom(func(t *rapid.T) string { return "x" + text(t, "detector") })).Draw(t, "detector"),
		Time:     micros("time"), First: micros("first"), Created: micros("created"), Window: alert.Window{Start: micros("start"), End: micros("end")},
		Severity:       rapid.SampledFrom([]string{"low", "medium", "high", "critical"}).Draw(t, "severity"),
		Confidence:     rapid.SampledFrom([]string{"low", "medium", "high"}).Draw(t, "confidence"),
		Classification: rapid.SampledFrom([]string{"", "PUBLIC", "RESTRICTED"}).Draw(t, "class"),
		Risk:           rapid.Int().Draw(t, "risk"), Reason: text(t, "reason"),
		Entity: alert.Entity{
			Type: "host", Name: text(t, "name"), Realm: text(t, "realm"), Hosts: texts(t, "hosts"), Instances: texts(t, "instances"), Pods: texts(t, "pods"),
			Containers: texts(t, "containers"), Addresses: texts(t, "addresses"), Principals: texts(t, "principals"), Interfaces: texts(t, "interfaces"),
		},
		Source: endpoint("source"), Destination: endpoint("destination"), Channel: text(t, "channel"), Subject: text(t, "subject"), Layer: text(t, "layer"),
		Technique: rapid.SliceOfN(rapid.SampledFrom([]string{"T1048", "T1048.003", "T1537", "T9999", "x"}), 0, 20).Draw(t, "technique"),
		Action:    text(t, "action"), EvidenceTrimmed: rapid.Bool().Draw(t, "trimmed"),
	}
	for range rapid.IntRange(0, 60).Draw(t, "points") {
		a.Points = append(a.Points, signal.Point{Name: text(t, "point"), Points: rapid.Float64().Draw(t, "p"), Value: rapid.Float64().Draw(t, "v"), Threshold: 1})
	}
	for range rapid.IntRange(0, 60).Draw(t, "signals") {
		a.Signals = append(a.Signals, alert.Signal{ID: "x" + text(t, "sid"), Detector: "x" + text(t, "sdet"), Score: rapid.Float64().Draw(t, "s")})
	}
	for range rapid.IntRange(0, 15).Draw(t, "evidence") {
		record, err := json.Marshal(map[string]string{"k": strings.Repeat("z", rapid.IntRange(0, 3000).Draw(t, "size"))})
		if err != nil {
			t.Fatal(err)
		}
		if rapid.IntRange(0, 9).Draw(t, "broken") == 0 {
			record = []byte(`{"k":`)
		}
		a.Evidence = append(a.Evidence, signal.Evidence{Topic: text(t, "topic"), Offset: rapid.Int64().Draw(t, "offset"), Name: text(t, "file"), At: rapid.Int64().Draw(t, "at"), Record: record})
	}
	for range rapid.IntRange(0, 40).Draw(t, "complete") {
		a.Completeness = append(a.Completeness, alert.Completeness{Type: text(t, "type"), Until: rapid.Int64().Draw(t, "until")})
	}
	if rapid.Bool().Draw(t, "joined") {
		h := alert.Half{Signal: "x" + text(t, "h"), Detector: "x" + text(t, "h"), Subject: text(t, "h"), Start: micros("hs"), End: micros("he"), Destination: endpoint("hd")}
		a.Joined = &alert.Joined{Staged: h, Sent: h, Delta: rapid.Float64().Draw(t, "delta"), Revision: 1}
	}
	for range rapid.IntRange(0, 60).Draw(t, "rolled") {
		a.Rollup = append(a.Rollup, alert.Rolled{ID: "x" + text(t, "rid"), Entity: text(t, "rent"), Severity: "low", Reason: text(t, "rreason")})
	}
	if rapid.Bool().Draw(t, "verdict") {
		a.Verdict = &alert.Verdict{Verdict: "benign", By: text(t, "by"), Why: text(t, "why"), Time: micros("vt")}
	}
	return a
}

// Whatever an alert holds, its documents are small, valid, repeatable, and
// decode to the same alert id.
func TestHostileAlertsKeepTheContract(t *testing.T) {
	t.Parallel()
	schema, finding := alertSchema(t), ocsfSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		a := drawAlert(t)
		data, err := a.Append([]byte("prefix"))
		if err != nil || !bytes.HasPrefix(data, []byte("prefix")) {
			t.Fatal(err)
		}
		data = data[len("prefix"):]
		if len(data) > alert.MaxBytes {
			t.Fatalf("%d bytes", len(data))
		}
		if err := valid(schema, data); err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		again, err := a.Append(nil)
		if err != nil || !bytes.Equal(data, again) {
			t.Fatalf("two encodings differ: %v", err)
		}
		var back alert.Alert
		if err := alert.Decode(data, &back); err != nil || back.ID != a.ID || back.Revision != a.Revision {
			t.Fatalf("decode: %v", err)
		}
		if len(back.Evidence) < min(len(a.Evidence), alert.MaxEvidence) && !back.EvidenceTrimmed {
			t.Fatal("evidence is missing and nothing says so")
		}
		for i, e := range back.Evidence {
			if len(e.Record) == 0 && len(a.Evidence[i].Record) > 0 && !back.EvidenceTrimmed {
				t.Fatal("a record is missing and nothing says so")
			}
		}
		if data, err = a.AppendOCSF(nil); err != nil || len(data) > alert.MaxBytes {
			t.Fatalf("finding of %d bytes: %v", len(data), err)
		}
		if err := valid(finding, data); err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		for _, r := range a.Text() {
			if r != '\n' && unicode.IsControl(r) {
				t.Fatalf("control character %U in the text", r)
			}
		}
	})
}

// The records go first, the largest of them before the others, and what is
// small stays.
func TestTrimKeepsWhatMatters(t *testing.T) {
	t.Parallel()
	a := samples()["single"]
	a.Evidence = nil
	for i := range 10 {
		size := 300
		if i < 2 {
			size = 5000
		}
		a.Evidence = append(a.Evidence, signal.Evidence{Topic: "t", Offset: int64(i), At: -1, Record: []byte(`{"k":"` + strings.Repeat("z", size) + `"}`)})
	}
	data, err := a.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var back alert.Alert
	if err := alert.Decode(data, &back); err != nil {
		t.Fatal(err)
	}
	kept := 0
	for i, e := range back.Evidence {
		if len(e.Record) > 0 {
			kept++
			if i < 2 && i == 1 {
				t.Error("the later of two equals was kept")
			}
		}
	}
	if !back.EvidenceTrimmed || len(back.Evidence) != 10 || kept < 8 || len(back.Points) != 2 {
		t.Errorf("trimmed %v, %d pieces, %d records, %d points", back.EvidenceTrimmed, len(back.Evidence), kept, len(back.Points))
	}
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "null", "{}", "[]", `{"event":{"kind":"signal"}}`, `{"event":{"kind":"alert"},"ebbwatch":{"id":"x","detector":"y","v":9}}`} {
		var a alert.Alert
		if err := alert.Decode([]byte(bad), &a); !errors.Is(err, alert.ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, a := range samples() {
		data, err := a.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var a alert.Alert
		if alert.Decode(data, &a) != nil {
			return
		}
		out, err := a.Append(nil)
		if err != nil || len(out) > alert.MaxBytes {
			t.Fatalf("%d bytes: %v", len(out), err)
		}
		_ = a.Text()
	})
}

func TestRisk(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		severity, confidence, class string
		excess                      float64
		want                        int
	}{
		{"low", "low", "", 1, 20},
		{"medium", "medium", "", 1, 45},
		{"high", "high", "", 2, 75},
		{"critical", "high", "RESTRICTED", 9, 100},
		{"low", "low", "PUBLIC", 0, 10},
		{"", "", "PUBLIC", 0, 0},
		{"high", "low", "UNCLASSIFIED", 1.5, 65},
	} {
		if got := alert.Risk(tc.severity, tc.confidence, tc.class, tc.excess); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1.00 kB", 9_990: "9.99 kB", 9_996: "10.0 kB", 734_000_000: "734 MB", 999_600: "1.00 MB", 5_500_000_000: "5.50 GB", 1<<64 - 1: "18.4 EB",
	} {
		if got := alert.Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	a := samples()["joined"]
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = a.Append(buf[:0]); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(buf)))
}
