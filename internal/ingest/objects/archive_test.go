package objects

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// tally counts what comes out of an archive, by flow interface.
type tally struct {
	seen map[string]int
	dead map[string]int
}

func (t *tally) Event(e *event.Event) { t.seen[strings.Clone(e.Flow.Interface)]++ }

func (t *tally) Ignored(string) {}

func (t *tally) Dead(reason string, _ []byte, _ event.Origin) { t.dead[reason]++ }

// TestArchive: an object whose transfer breaks off is gone on with where it broke
// off; one that S3 refuses is a dead record; one that cannot be had is an error.
func TestArchive(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n")
	const n = 3000
	for i := range n {
		fmt.Fprintf(&text, "2 111122223333 eni-%d 10.0.0.5 203.0.113.9 40000 443 6 10 1000 1767607200 1767607260 ACCEPT OK\n", i)
	}
	b := newBench(t, "ingest-flow", nil)
	b.lake.objects["logs/broken"] = &object{data: []byte(text.String()), etag: `"1"`, cuts: []int{0, 100_000, 180_000}}
	b.lake.objects["logs/denied"] = &object{code: "AccessDenied"}
	a := &Archive{store: b.op.store}
	got := &tally{seen: map[string]int{}, dead: map[string]int{}}
	for _, key := range []string{"broken", "denied", "missing"} {
		if err := a.Read(t.Context(), Ref{Bucket: "logs", Key: key}, got); err != nil {
			t.Fatal(key, err)
		}
	}
	for i := range n {
		if c := got.seen[fmt.Sprint("eni-", i)]; c != 1 {
			t.Fatalf("record %d came %d times", i, c)
		}
	}
	if got.dead[reasonDenied] != 1 || got.dead[reasonMissing] != 1 || len(got.dead) != 2 {
		t.Errorf("dead: %v", got.dead)
	}
	b.lake.objects["logs/busy"] = &object{code: "SlowDown"}
	task := taskOf(Ref{Bucket: "logs", Key: "busy"}, "")
	if _, err := a.try(t.Context(), task, got); err == nil {
		t.Error("no error of a server that is busy")
	} else if _, refused := errors.AsType[*refusal](err); refused {
		t.Error("that a server is busy was taken for a word on the object")
	}
}
