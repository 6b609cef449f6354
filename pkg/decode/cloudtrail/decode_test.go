package cloudtrail_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/cloudtrail"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// readAll decodes src to its end.
func readAll(tb testing.TB, src io.Reader, sink decode.Sink) {
	tb.Helper()
	r := cloudtrail.NewReader(src, event.Origin{Name: "trail.json.gz"})
	for {
		if err := r.Next(sink); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			tb.Fatal(err)
		}
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	decodetest.Golden(t, func(t *testing.T, _ string, in []byte, r *decodetest.Recorder) {
		t.Helper()
		readAll(t, bytes.NewReader(in), r)
	})
}
