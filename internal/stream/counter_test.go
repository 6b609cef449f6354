package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/operator"
)

// counter is the test's operator: per key a sum in the current window and one
// for ever, and for each closed window one output per key in order. A record
// is "TIME AMOUNT", or "poison", "panic".
type counter struct {
	partition int32
	buckets   []map[string]*sums
	shared    sharedState
	epoch     string
	touches   bool // call Touch, as the contract demands
	whole     bool // the shared state was loaded, which comes last
}

type sums struct {
	Window, Total int64
	Last          int64 // offset of the last record
	Mix           int64 // of the epochs that held for each record, in order
}

type sharedState struct{ Window, Seq, Poison int64 }

const (
	testBuckets = 16
	windowSize  = 10
)

func newCounter(partition int32) (operator.Operator, error) {
	c := &counter{partition: partition, buckets: make([]map[string]*sums, testBuckets), touches: true}
	return c, nil
}

func bucketOf(key []byte) int {
	h := fnv.New32a()
	h.Write(key)
	return int(h.Sum32() % testBuckets)
}

func (c *counter) Apply(r *operator.Record, ctx operator.Context) error {
	if string(r.Value) == "poison" {
		// What it did before the error must not count.
		ctx.Emit(operator.Output{Topic: "out", Kind: "sum", V: 1, Key: r.Key, Value: []byte("of a poison record")})
		ctx.Count("poisoned", "", 1)
		return errors.New("refused by the test")
	}
	if string(r.Value) == "panic" {
		panic("told to")
	}
	at, amount, _ := strings.Cut(string(r.Value), " ")
	t, err1 := strconv.ParseInt(at, 10, 64)
	n, err2 := strconv.ParseInt(amount, 10, 64)
	if err1 != nil || err2 != nil {
		return fmt.Errorf("value %q", r.Value)
	}
	if w := t / windowSize; w > c.shared.Window {
		c.closeWindow(ctx)
		c.shared.Window = w
	}
	b := bucketOf(r.Key)
	if c.touches {
		ctx.Touch(b)
	}
	if c.buckets[b] == nil {
		c.buckets[b] = map[string]*sums{}
	}
	s := c.buckets[b][string(r.Key)]
	if s == nil {
		s = &sums{}
		c.buckets[b][string(r.Key)] = s
	}
	s.Window += n
	s.Total += n
	s.Last = r.Offset
	for _, b := range []byte(c.epoch) {
		s.Mix = (s.Mix*31 + int64(b)) % 1000003
	}
	ctx.Count("applied", r.Kind, 1)
	return nil
}

func (c *counter) closeWindow(ctx operator.Context) {
	all := map[string]*sums{}
	for i, b := range c.buckets {
		for k, s := range b {
			if s.Window != 0 {
				if c.touches {
					ctx.Touch(i)
				}
				all[k] = s
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		s := all[k]
		c.shared.Seq++
		ctx.Emit(operator.Output{
			Topic: "out", Kind: "sum", V: 1, Key: []byte(k),
			Value: fmt.Appendf(nil, "%d #%d window %d %s=%d of %d last %d mix %d epoch %s", c.partition, c.shared.Seq, c.shared.Window, k, s.Window, s.Total, s.Last, s.Mix, c.epoch),
		})
		s.Window = 0
	}
}

func (c *counter) Epoch(kind string, data []byte) error {
	if kind != "site" {
		return fmt.Errorf("kind %q", kind)
	}
	c.epoch = string(data)
	return nil
}

func (c *counter) Buckets() int { return testBuckets }

func (c *counter) AppendBucket(dst []byte, bucket int) []byte {
	if len(c.buckets[bucket]) == 0 {
		return dst
	}
	data, err := json.Marshal(c.buckets[bucket])
	if err != nil {
		panic(err)
	}
	return append(dst, data...)
}

func (c *counter) LoadBucket(bucket int, data []byte) error {
	if c.whole {
		return errors.New("a bucket is loaded behind the shared state")
	}
	return json.Unmarshal(data, &c.buckets[bucket])
}

func (c *counter) AppendShared(dst []byte) []byte {
	data, err := json.Marshal(c.shared)
	if err != nil {
		panic(err)
	}
	return append(dst, data...)
}

func (c *counter) LoadShared(data []byte) error {
	c.whole = true
	return json.Unmarshal(data, &c.shared)
}
