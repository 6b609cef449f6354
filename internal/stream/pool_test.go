package stream

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestFetchPoolKeepsSmallAndLargeApart(t *testing.T) {
	t.Parallel()
	p := newFetchPool()
	small, large := make([]byte, 100), make([]byte, smallBatchBytes+1)
	p.PutDecompressBytes(large)
	if b := p.GetDecompressBytes(make([]byte, 10), kgo.CodecZstd); cap(b) > smallBatchBytes {
		t.Errorf("a marker got a buffer of %d bytes", cap(b))
	}
	p.PutDecompressBytes(small)
	if b := p.GetDecompressBytes(make([]byte, smallBatchBytes), kgo.CodecZstd); cap(b) < smallBatchBytes {
		t.Errorf("a large batch got a buffer of %d bytes", cap(b))
	}
	p.PutRecords(make([]kgo.Record, 1))
	if held := p.largeBytes.held; held != 0 {
		t.Errorf("%d bytes are held though they were taken", held)
	}
	for range 100 {
		p.PutDecompressBytes(make([]byte, 1<<20))
	}
	if held := p.largeBytes.held; held > p.largeBytes.most || held < p.largeBytes.most/2 {
		t.Errorf("%d bytes are held, bound %d", held, p.largeBytes.most)
	}
	for _, n := range []int{1, smallBatchRecords, smallBatchRecords + 1, 5000} {
		if r := p.GetRecords(n); cap(r) < n {
			t.Errorf("%d records asked, %d given", n, cap(r))
		}
	}
}

// What is counted under the same name is one sum, whatever its order, and
// keeps nothing of the record.
func TestTally(t *testing.T) {
	t.Parallel()
	var sum tally
	label := []byte("flow")
	for range 3 {
		sum.take([]count{{"events", string(label), 1}, {"facts", "vpcflow", 2}})
		sum.take([]count{{"events", "dns", 1}})
		sum.take(nil)
	}
	got := map[string]int64{}
	for _, c := range sum.sums {
		got[c.name+" "+c.label] += c.n
	}
	if len(sum.sums) != 3 || got["events flow"] != 3 || got["facts vpcflow"] != 6 || got["events dns"] != 3 {
		t.Errorf("%v", sum.sums)
	}
}
