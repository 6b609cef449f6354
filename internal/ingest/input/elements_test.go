package input_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/ingest/input"
)

// Log entries of Google Cloud come one a line (Cloud Storage sinks), as one
// indented array (exports of the command line), or compressed: each way is the
// same events, and what stands behind a broken entry is read.
func TestGoogleCloudExports(t *testing.T) {
	t.Parallel()
	const entries = 3000
	var lines, array bytes.Buffer
	array.WriteString("[\n")
	for i := range entries {
		entry := fmt.Sprintf(`{"insertId":"%d","logName":"projects/p/logs/compute.googleapis.com%%2Fvpc_flows","timestamp":"2026-01-05T10:00:09Z","jsonPayload":{"reporter":"SRC",`+
			`"start_time":"2026-01-05T10:00:00Z","end_time":"2026-01-05T10:%02d:%02dZ","bytes_sent":"%d","connection":{"src_ip":"10.0.0.1","dest_ip":"203.0.113.9","protocol":6}}}`, i, i/60, i%60, i)
		lines.WriteString(entry + "\n")
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, []byte(entry), "  ", "  "); err != nil {
			t.Fatal(err)
		}
		array.WriteString("  " + pretty.String() + ",\n")
	}
	whole := strings.TrimSuffix(array.String(), ",\n") + "\n]\n"
	byLine := readAll(t, "a.json", lines.Bytes(), input.Options{})
	for name, data := range map[string][]byte{"array": []byte(whole), "array, gzip": gzipped(t, []byte(whole)), "lines, gzip": gzipped(t, lines.Bytes())} {
		rec := readAll(t, "a.json", data, input.Options{})
		if rec.Events != entries || rec.Lost != 0 || byLine.Events != entries {
			t.Errorf("%s: %d events, %d by line, dead %v", name, rec.Events, byLine.Events, rec.Deads)
		}
	}
	broken := strings.Replace(whole, `"insertId": "7",`, `"insertId": 7 8,`, 1)
	if rec := readAll(t, "a.json", []byte(broken), input.Options{}); rec.Events < entries-2 || rec.Lost == 0 {
		t.Errorf("one broken entry: %d events of %d, dead %v", rec.Events, entries, rec.Deads)
	}
}

// Documents of shippers are read whether one stands on a line or not.
func TestNormalisedDocuments(t *testing.T) {
	t.Parallel()
	doc := `{"@timestamp":"2026-01-05T10:00:00Z","event":{"module":"suricata"},"source":{"ip":"10.0.0.1","bytes":5},"destination":{"ip":"203.0.113.9","bytes":6}}`
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte(doc), "", "  "); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"lines": doc + "\n" + doc + "\n", "indented": pretty.String() + "\n" + pretty.String(), "array": "[" + doc + ",\n" + doc + "]"} {
		if rec := readAll(t, "eve.json", []byte(data), input.Options{}); rec.Events != 2 || rec.Lost != 0 {
			t.Errorf("%s: %d events, dead %v", name, rec.Events, rec.Deads)
		}
	}
}
