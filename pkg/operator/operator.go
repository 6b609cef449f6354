// Package operator is the contract between the pure logic of Ebbwatch and
// whatever runs it: the exactly-once engine (internal/stream) and the direct
// chain (pkg/pipeline).
//
// An Operator is state as a function of the log and of declared epochs
// (DESIGN §2 law 1): Apply has no clock, no I/O, no randomness and does not
// depend on the order of a map. One operator serves one partition, one
// goroutine owns it, and it needs no lock.
package operator

// Record is one record of the input log.
type Record struct {
	Topic     string
	Partition int32
	Offset    int64
	// Time is the broker's append time in microseconds: the only wall time.
	Time int64
	// Kind is the record's "kind" header ("flow", "mark", "signal", …).
	Kind string
	// Key and Value are valid during Apply only; clone what is kept.
	Key, Value []byte
}

// Output is one record that an operator emits. The runner copies it before
// Emit returns, so the operator may reuse the slices.
type Output struct {
	Topic string
	Kind  string
	V     int
	Key   []byte
	Value []byte
}

// Context is what the runner lends to an operator for one call.
type Context interface {
	// Emit sends one output in the transaction of the record.
	Emit(out Output)
	// Touch announces that the keyed state of a bucket is about to change.
	// It must be called before the change: a snapshot in progress saves the
	// bucket as it stood at the cut (copy on write).
	Touch(bucket int)
	// Count adds n to the operator's counter of that name; label is one of
	// few constants. Counters are for metrics and never read back. During a
	// replay they are dropped.
	Count(name, label string, n int64)
}

// Operator is a deterministic state machine over one partition.
//
// Keyed state lives in Buckets() buckets, chosen by a hash of the record key;
// all else that outlives a record (watermarks, prevalence, eviction order) is
// the shared state. A snapshot is one cut: all buckets and the shared state
// after the same record.
type Operator interface {
	// Apply consumes one record. An error means that this record cannot be
	// applied (poison): the runner sends it to the dead letters and goes on,
	// so Apply must leave the state as it was before.
	Apply(r *Record, c Context) error

	// Epoch makes a declared input (site file, thresholds, lists) valid from
	// the next record on. kind names it, data are its bytes.
	Epoch(kind string, data []byte) error

	// Buckets is the number of buckets; it never changes.
	Buckets() int
	// AppendBucket appends the encoded state of a bucket to dst; an empty
	// bucket appends nothing. The encoding is deterministic.
	AppendBucket(dst []byte, bucket int) []byte
	// LoadBucket replaces a bucket by what AppendBucket wrote.
	LoadBucket(bucket int, data []byte) error
	// AppendShared and LoadShared do the same for the shared state.
	// LoadShared comes after all buckets were loaded: what it says may put
	// them in order.
	AppendShared(dst []byte) []byte
	LoadShared(data []byte) error
}

// Factory makes an empty operator for a partition.
type Factory func(partition int32) (Operator, error)
