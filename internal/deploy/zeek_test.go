package deploy

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode/packet"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const zeekScript = "../../deploy/zeek/ebbwatch.zeek"

// logged returns the columns of the record Info of a module of the script.
func logged(t *testing.T, module string) []string {
	t.Helper()
	data, err := os.ReadFile(zeekScript)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(data), "module "+module+";")
	if !found {
		t.Fatalf("no module %s in %s", module, zeekScript)
	}
	_, text, _ = strings.Cut(text, "type Info: record {")
	text, _, _ = strings.Cut(text, "};")
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\s*(\w+):.*&log`).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// TestZeekColumns holds the decoder to the columns that the script writes:
// those of dns_exfil.log are also a requirement (detections.md §9).
func TestZeekColumns(t *testing.T) {
	t.Parallel()
	for module, want := range map[string][]string{
		"DNSExfil": {"ts", "uid", "id", "query", "qtype_name", "rtt", "subdomain_entropy", "label_length", "txt_response_size", "response_size", "answer_count"},
		"ICMPEcho": {
			"ts", "uid", "id", "is_orig", "icmp_type", "icmp_code", "icmp_id", "icmp_seq", "payload_length", "payload_hash", "content_hash",
		},
	} {
		have := logged(t, module)
		for _, name := range want {
			if !slices.Contains(have, name) {
				t.Errorf("module %s of the script does not log %s, has %v", module, name, have)
			}
		}
	}
}

// TestZeekEchoes writes the ICMP messages of our recordings as icmp_echo.log
// has them: decoded, they are what the packets give, so that icmp-tunnel sees
// the same from Zeek as from packets.
func TestZeekEchoes(t *testing.T) {
	t.Parallel()
	captures, err := filepath.Glob("../quality/testdata/lab/*p*/*.pcap.gz")
	if err != nil || len(captures) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	compared := 0
	for _, name := range captures {
		from := decodetest.New(t)
		from.Quiet = true
		var want []string
		var lines []string
		from.Each = func(e *event.Event) {
			if e.Kind != event.KindICMP || e.ICMP.Type.Or(0) != 8 && e.ICMP.Type.Or(1) != 0 && e.ICMP.Type.Or(0) != 128 && e.ICMP.Type.Or(0) != 129 {
				return
			}
			if len(want) == 4000 {
				return
			}
			want = append(want, seen(t, e))
			lines = append(lines, echoLine(t, e, len(lines)%2 == 0))
		}
		readCapture(t, name, from)
		got := decodetest.New(t)
		got.Quiet = true
		var have []string
		got.Each = func(e *event.Event) { have = append(have, seen(t, e)) }
		d := zeek.New(zeek.Options{Path: "icmp_echo.log"})
		for _, l := range lines {
			d.Line([]byte(l), event.Origin{}, got)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s: (-packets +zeek)\n%s", filepath.Base(name), diff)
		}
		compared += len(want)
	}
	if compared < 1000 {
		t.Errorf("only %d messages were compared", compared)
	}
}

func readCapture(t *testing.T, name string, into *decodetest.Recorder) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := packet.NewReader(z, name, packet.NewTracker(packet.Default())).ReadAll(into); err != nil {
		t.Fatal(err)
	}
}

// seen is the event without what tells where it came from.
func seen(t *testing.T, e *event.Event) string {
	t.Helper()
	c := *e
	c.ID, c.Observer, c.Origin = "", event.Observer{Type: "any"}, event.Origin{}
	line, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

// echoLine is the line that the script writes of a message. With swapped the
// connection was begun by the other side.
func echoLine(t *testing.T, e *event.Event, swapped bool) string {
	t.Helper()
	orig, resp := e.Source.IP, e.Destination.IP
	if swapped {
		orig, resp = resp, orig
	}
	hex := func(c event.Count) string { return fmt.Sprintf("%016x", c.Or(0)) }
	line, err := json.Marshal(map[string]any{
		"ts": json.Number(fmt.Sprintf("%d.%06d", e.Time/1e6, e.Time%1e6)), "uid": "CMdzit1AMNsmfAIiQc",
		"id.orig_h": orig, "id.orig_p": 8, "id.resp_h": resp, "id.resp_p": 0, "is_orig": !swapped,
		"icmp_type": e.ICMP.Type.Or(0), "icmp_code": e.ICMP.Code.Or(0), "icmp_id": e.ICMP.ID.Or(0), "icmp_seq": e.ICMP.Sequence.Or(0),
		"payload_length": e.ICMP.Bytes.Or(0), "payload_hash": hex(e.ICMP.Hash), "content_hash": hex(e.ICMP.Content),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}
