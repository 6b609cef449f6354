package objects

import (
	"bytes"
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

func isUTF8(t *Task) bool { return utf8.ValidString(t.Key) && utf8.ValidString(t.Bucket) }

func idOf(n int) objectID {
	return (&Task{Source: "s", Bucket: "b", Key: string(rune('a'+n%26)) + time.Duration(n).String()}).id()
}

func TestStateSurvivesItsEncoding(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var k known
		for i := range rapid.IntRange(0, 300).Draw(t, "n") {
			k.take(idOf(i), entry{seq: rapid.Uint32().Draw(t, "seq"), at: rapid.Int64Range(0, 1<<50).Draw(t, "at")})
		}
		var back known
		for n := range buckets {
			data := k.appendBucket(nil, n)
			if err := back.loadBucket(n, data); err != nil {
				t.Fatal(err)
			}
			if again := back.appendBucket(nil, n); !bytes.Equal(data, again) {
				t.Fatalf("bucket %d: %x became %x", n, data, again)
			}
		}
		if back.size() != k.size() {
			t.Fatalf("%d objects became %d", k.size(), back.size())
		}
	})
}

func TestDamagedState(t *testing.T) {
	t.Parallel()
	var k known
	id := idOf(1)
	k.take(id, entry{seq: 3, at: 5})
	data := k.appendBucket(nil, bucketOf(id))
	for n := 1; n < len(data); n++ {
		if err := new(known).loadBucket(0, data[:n]); !errors.Is(err, operator.ErrState) {
			t.Errorf("cut at %d of %d: %v", n, len(data), err)
		}
	}
}

func TestStateIsBounded(t *testing.T) {
	t.Parallel()
	var k known
	evicted := 0
	inOne := func(n int) objectID { // all in one bucket
		id := idOf(n)
		id[0] = 0
		return id
	}
	const n = bucketSize * 3 / 2
	for i := range n {
		evicted += k.take(inOne(i), entry{at: int64(i)})
	}
	if k.size() > bucketSize || k.size()+evicted != n {
		t.Errorf("%d are known, %d evicted", k.size(), evicted)
	}
	if _, is := k.buckets[0].objects[inOne(n-1)]; !is {
		t.Error("the newest was evicted")
	}
	later := entry{at: n + (Keep + time.Hour).Microseconds()}
	for i := range 400 {
		k.take(inOne(n+i), later)
	}
	if k.size() != 400 {
		t.Errorf("%d are known, 400 are not older than %s", k.size(), Keep)
	}
}
