package hunt_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/hunt"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// An event that no topic takes is dead in a hunt as it is in ingest
// (TestAnEventBeyondAMessage), and counted once; what stands around it is read.
func TestAnEventBeyondAMessage(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	for i, length := range []int{10, 800 << 10, 950 << 10, 10} {
		fmt.Fprintf(&log, `{"ts":%d.0,"uid":"D%d","id.orig_h":"10.0.0.1","id.orig_p":40000,"id.resp_h":"10.0.0.53","id.resp_p":53,"proto":"udp","query":"%s.example.com","qtype_name":"A"}`+"\n",
			1767607200+i, i, strings.Repeat("a", length))
	}
	path := filepath.Join(t.TempDir(), "dns.log")
	if err := os.WriteFile(path, []byte(log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	inputs, skipped, err := hunt.Open([]string{path})
	if err != nil || len(skipped) > 0 {
		t.Fatal(err, skipped)
	}
	res, err := hunt.Run(context.Background(), inputs, hunt.Options{})
	if err != nil || res.Err != nil {
		t.Fatal(err, res.Err)
	}
	var got []hunt.SourceReport
	for _, s := range res.Report.Sources {
		got = append(got, s)
	}
	want := []hunt.SourceReport{{Records: 4, Events: 3, Dead: map[string]int64{decode.ReasonEventLong: 1}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
