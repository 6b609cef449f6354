package deadletter_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/internal/deadletter"
	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestForm(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		r    *deadletter.Record
		want string
	}{
		{
			"topic", deadletter.New("detect", "apply", errors.New("bad \"x\""), deadletter.InTopic("ebb.network.v1", 0, 7), []byte("abc"), 12),
			`{"kind":"deadletter","v":1,"source":"detect","reason":"apply","error":"bad \"x\"","origin":{"topic":"ebb.network.v1","partition":0,"offset":7},` +
				`"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3,"raw":"YWJj","time":12}`,
		},
		{
			"file", deadletter.New("zeek", decode.ReasonJSON, nil, deadletter.InFile(event.Origin{Name: "conn.log", Line: event.N(3), Offset: event.N(0)}), nil, 1),
			`{"kind":"deadletter","v":1,"source":"zeek","reason":"malformed_json","origin":{"name":"conn.log","line":3,"offset":0},` +
				`"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0,"raw":"","time":1}`,
		},
	} {
		got := tc.r.Append(nil)
		if d := cmp.Diff(tc.want, string(got)); d != "" {
			t.Errorf("%s: %s", tc.name, d)
		}
	}
}

func TestRoundTripAndBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOf(rapid.Byte()).Draw(t, "raw")
		raw = bytes.Repeat(raw, rapid.SampledFrom([]int{1, 1, 1, 20000}).Draw(t, "times"))
		text := strings.Repeat(rapid.String().Draw(t, "error"), 100)
		r := deadletter.New("s", "r", errors.New(text), deadletter.InTopic("t", 1, 2), raw, 3)
		enc := r.Append(nil)
		if len(enc) > 2*decode.MaxDead {
			t.Fatalf("%d bytes", len(enc))
		}
		back, err := deadletter.Decode(enc)
		if err != nil {
			t.Fatal(err)
		}
		if back.Size != len(raw) || !bytes.Equal(back.Raw, raw[:min(len(raw), decode.MaxDead)]) || back.SHA256 != r.SHA256 {
			t.Fatalf("came back as %+v", back)
		}
	})
}

func TestDecodeRefusesOtherKinds(t *testing.T) {
	t.Parallel()
	if _, err := deadletter.Decode([]byte(`{"kind":"flow"}`)); !errors.Is(err, deadletter.ErrKind) {
		t.Error(err)
	}
	if _, err := deadletter.Decode([]byte(`{`)); err == nil {
		t.Error("broken JSON is accepted")
	}
}
