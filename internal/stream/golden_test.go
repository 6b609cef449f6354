package stream

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

var update = flag.Bool("update", false, "write the golden snapshot of the present format")

// TestReadsGoldenSnapshots: each file is what a format's release wrote to a
// state partition, records as "KEY VALUE" in hexadecimal. A release reads its own
// and that of the release before. A file is never written again once its format
// was released; a new format gets a new file, and the one before the last goes.
func TestReadsGoldenSnapshots(t *testing.T) {
	t.Parallel()
	w := benchWorker(t, false)
	w.eng.epochs.set("site", []byte("a site file that takes more than one part, or so"))
	if err := w.adoptEpochs(); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		r := &kgo.Record{Offset: int64(i), Key: fmt.Appendf(nil, "k%d", i%25), Value: fmt.Appendf(nil, "%d 2", i)}
		if err := w.apply(r); err != nil {
			t.Fatal(err)
		}
	}
	want := image(w.op)
	if *update {
		if err := w.snapshot(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		for _, r := range w.queue {
			fmt.Fprintf(&out, "%s %s\n", hex.EncodeToString(r.Key), hex.EncodeToString(r.Value))
		}
		if err := os.WriteFile(filepath.Join("testdata", fmt.Sprintf("state-v%d.golden", formatVersion)), out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join("testdata", "state-v*.golden"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden snapshots: %v", err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var log []*kgo.Record
		for sc := bufio.NewScanner(bytes.NewReader(data)); sc.Scan(); {
			key, value, _ := strings.Cut(sc.Text(), " ")
			k, err1 := hex.DecodeString(key)
			v, err2 := hex.DecodeString(value)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			log = append(log, &kgo.Record{Offset: int64(len(log)), Key: k, Value: v})
		}
		back := readBack(t, log, 60)
		if d := cmp.Diff(want, image(back.op)); d != "" || back.last.cut != 60 {
			t.Errorf("%s: cut %d: %s", name, back.last.cut, d)
		}
	}
}
