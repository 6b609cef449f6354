package signal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

func TestParseAnnouncement(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)
	now := at.UnixMicro()
	const rest = `,"by":"ci","why":"release 7"}`
	for name, tc := range map[string]struct{ body, refused string }{
		"begins now":       {body: `{"namespace":"shop","until":"2026-01-05T10:15:00Z"` + rest},
		"a host":           {body: `{"host":"web-1","from":"2026-01-05T09:45:00Z","until":"2026-01-05T10:15:00Z"` + rest},
		"ended early":      {body: `{"namespace":"shop","from":"2026-01-05T09:45:00+00:00","until":"2026-01-05T10:00:00Z"` + rest},
		"no subject":       {`{"until":"2026-01-05T10:15:00Z"` + rest, "both are empty"},
		"blank subject":    {`{"namespace":" ","until":"2026-01-05T10:15:00Z"` + rest, "both are empty"},
		"no end":           {`{"namespace":"shop"` + rest, "until:"},
		"too long":         {`{"namespace":"shop","until":"2026-01-05T10:30:01Z"` + rest, "until:"},
		"backwards":        {`{"namespace":"shop","from":"2026-01-05T10:05:00Z","until":"2026-01-05T10:05:00Z"` + rest, "until:"},
		"long ago":         {`{"namespace":"shop","from":"2026-01-05T09:29:00Z","until":"2026-01-05T09:50:00Z"` + rest, "from:"},
		"far ahead":        {`{"namespace":"shop","from":"2026-01-05T10:11:00Z","until":"2026-01-05T10:20:00Z"` + rest, "from:"},
		"nobody":           {`{"namespace":"shop","until":"2026-01-05T10:15:00Z","why":"x"}`, "say who"},
		"unknown field":    {`{"namespace":"shop","until":"2026-01-05T10:15:00Z","hosts":["a"]` + rest, "not JSON"},
		"another twice":    {`{"namespace":"shop","until":"2026-01-05T10:15:00Z"` + rest + `{}`, "more than one"},
		"long name":        {`{"namespace":"` + strings.Repeat("a", 254) + `","until":"2026-01-05T10:15:00Z"` + rest, "namespace: more than"},
		"long body":        {`{"why":"` + strings.Repeat("a", signal.MaxAnnouncement) + `"}`, "more than 8192 bytes"},
		"no JSON":          {"shop", "not JSON"},
		"nothing":          {"", "not JSON"},
		"null is no field": {"null", "both are empty"},
	} {
		d, err := signal.ParseAnnouncement([]byte(tc.body), now)
		switch {
		case tc.refused != "":
			if err == nil || !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("%s: %v, %+v; wanted %q", name, err, d, tc.refused)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
	d, err := signal.ParseAnnouncement([]byte(`{"namespace":"shop","until":"2026-01-05T10:15:00Z"`+rest), now)
	want := signal.Deployment{Namespace: "shop", From: now, Until: at.Add(15 * time.Minute).UnixMicro(), By: "ci", Why: "release 7"}
	if diff := cmp.Diff(want, d); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// FuzzParseAnnouncement: what is accepted is a window that can be read back, not
// longer than allowed.
func FuzzParseAnnouncement(f *testing.F) {
	for _, s := range []string{
		`{"namespace":"shop","until":"2026-01-05T10:15:00Z","by":"ci","why":"release 7"}`,
		`{"host":"web-1","from":"2026-01-05T09:45:00.5+02:00","until":"2026-01-05T10:15:00Z","by":"ci","why":"x"}`, `{}`, `null`, `[`,
	} {
		f.Add([]byte(s), int64(1767607200_000000))
	}
	f.Fuzz(func(t *testing.T, body []byte, now int64) {
		d, err := signal.ParseAnnouncement(body, now)
		if err != nil {
			return
		}
		data, err := d.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var back signal.Deployment
		if err := signal.DecodeDeployment(data, &back); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if length := back.Until - back.From; length > signal.MaxDeployment.Microseconds()+1 {
			t.Fatalf("%d µs: %s", length, data)
		}
	})
}
