package signal_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/pkg/signal"
)

func TestPurge(t *testing.T) {
	t.Parallel()
	p := signal.Purge{What: "sent", Observer: "zeek", First: 5, Last: 6, By: "kim", Why: "an \"attack\"", Time: 7}
	data, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var back signal.Purge
	if err := signal.DecodePurge(data, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p, back); d != "" {
		t.Error(d)
	}
	for _, text := range []string{
		`{`, `{"kind":"release","v":1,"first":1,"last":2,"by":"a","why":"b"}`, `{"kind":"purge","v":2,"first":1,"last":2,"by":"a","why":"b"}`,
		`{"kind":"purge","v":1,"first":-1,"last":2,"by":"a","why":"b"}`, `{"kind":"purge","v":1,"first":3,"last":2,"by":"a","why":"b"}`,
		`{"kind":"purge","v":1,"first":1,"last":2,"by":" ","why":"b"}`, `{"kind":"purge","v":1,"first":1,"last":2,"by":"a"}`,
	} {
		if signal.DecodePurge([]byte(text), &back) == nil {
			t.Errorf("%s was taken", text)
		}
	}
}
