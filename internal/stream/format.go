package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// The state topic's values: a version, a type, the body, and the 64-bit xxhash
// of all of these in big endian. Integers are varints.
const (
	formatVersion = 1

	typePart     = 'p' // part of a snapshot's item
	typeManifest = 'm'
	typeEpoch    = 'e' // part of an epoch's bytes
	typeLayout   = 'l' // whose place this is, from here on
)

// layoutKey is the key of the layout record, see `ebbwatch state repartition`:
// all that lies before it belongs to a layout that is no more.
const layoutKey = "layout"

// encodeLayout is the value of a layout record.
func encodeLayout(t tp, partitions int32) []byte {
	b := []byte{formatVersion, typeLayout}
	b = binary.AppendUvarint(b, uint64(len(t.String())))
	b = append(b, t.String()...)
	return sealValue(binary.AppendUvarint(b, uint64(partitions)))
}

// layoutOwner is the input partition of a layout record.
func layoutOwner(value []byte) (tp, bool) {
	r, err := openValue(typeLayout, value)
	if err != nil {
		return tp{}, false
	}
	return parseTP(string(r.bytes(r.uvarint())))
}

// decodeLayout checks that a layout record gives the place to t.
func decodeLayout(t tp, value []byte) error {
	if _, err := openValue(typeLayout, value); err != nil {
		return err
	}
	owner, ok := layoutOwner(value)
	if !ok {
		return errCorrupt
	}
	if owner != t {
		return fmt.Errorf("the place is that of %s: %w", owner, errForeign)
	}
	return nil
}

// parseTP reads tp's text.
func parseTP(text string) (tp, bool) {
	topic, number, ok := strings.Cut(text, "/")
	n, err := strconv.ParseInt(number, 10, 32)
	return tp{topic, int32(n)}, ok && err == nil && n >= 0 && topic != ""
}

// Errors of records on the state topic.
var (
	errCorrupt = errors.New("corrupt state record")
	errVersion = errors.New("state record of an unknown version")
	errForeign = errors.New("state record of another partition")
)

// tp is a topic partition.
type tp struct {
	topic     string
	partition int32
}

func (t tp) String() string { return t.topic + "/" + strconv.Itoa(int(t.partition)) }

func (t tp) compare(o tp) int {
	if c := strings.Compare(t.topic, o.topic); c != 0 {
		return c
	}
	return int(t.partition) - int(o.partition)
}

// Items of a snapshot: "b/17" a bucket, "s" the shared state, "k/site" an
// epoch in force.
const itemShared = "s"

func itemBucket(bucket int) string   { return "b/" + strconv.Itoa(bucket) }
func itemEpoch(kind string) string   { return "k/" + kind }
func isEpochItem(name string) bool   { return strings.HasPrefix(name, "k/") }
func epochOfItem(name string) string { return strings.TrimPrefix(name, "k/") }

// Keys of the state topic, see the package documentation.
func partKey(t tp, item string, slot, part int) []byte {
	return fmt.Appendf(nil, "%s/%s/%d/%d", t, item, slot, part)
}

func manifestKey(t tp, slot int) []byte { return fmt.Appendf(nil, "%s/m/%d", t, slot) }

func epochKey(t tp, kind string, from int64, part int) []byte {
	return fmt.Appendf(nil, "%s/e/%s/%d/%d", t, kind, from, part)
}

// stateKey is a parsed key.
type stateKey struct {
	typ        byte
	item       string // of a part
	slot, part int
	kind       string // of an epoch
	from       int64
}

// parseKey reads a key of the input partition t. A key of another one gives
// errForeign.
func parseKey(t tp, key []byte) (k stateKey, err error) {
	if string(key) == layoutKey {
		return stateKey{typ: typeLayout}, nil
	}
	rest, ok := strings.CutPrefix(string(key), t.String()+"/")
	if !ok {
		return k, fmt.Errorf("key %q: %w", key, errForeign)
	}
	f := strings.Split(rest, "/")
	nums := func(texts ...string) (out []int64) {
		for _, s := range texts {
			n, perr := strconv.ParseInt(s, 10, 64)
			if perr != nil || n < 0 {
				err = fmt.Errorf("key %q: %w", key, errCorrupt)
				return make([]int64, len(texts))
			}
			out = append(out, n)
		}
		return out
	}
	switch {
	case f[0] == "b" && len(f) == 4:
		n := nums(f[1], f[2], f[3])
		k = stateKey{typ: typePart, item: itemBucket(int(n[0])), slot: int(n[1]), part: int(n[2])}
	case f[0] == "k" && len(f) == 4:
		n := nums(f[2], f[3])
		k = stateKey{typ: typePart, item: itemEpoch(f[1]), slot: int(n[0]), part: int(n[1])}
	case f[0] == "s" && len(f) == 3:
		n := nums(f[1], f[2])
		k = stateKey{typ: typePart, item: itemShared, slot: int(n[0]), part: int(n[1])}
	case f[0] == "m" && len(f) == 2:
		k = stateKey{typ: typeManifest, slot: int(nums(f[1])[0])}
	case f[0] == "e" && len(f) == 4:
		n := nums(f[2], f[3])
		k = stateKey{typ: typeEpoch, kind: f[1], from: n[0], part: int(n[1])}
	default:
		err = fmt.Errorf("key %q: %w", key, errCorrupt)
	}
	return k, err
}

// seal adds the checksum.
func sealValue(body []byte) []byte { return binary.BigEndian.AppendUint64(body, xxhash.Sum64(body)) }

// openValue checks version, type and checksum and returns the body.
func openValue(typ byte, value []byte) (*reader, error) {
	if len(value) < 10 {
		return nil, errCorrupt
	}
	body, sum := value[:len(value)-8], binary.BigEndian.Uint64(value[len(value)-8:])
	if xxhash.Sum64(body) != sum {
		return nil, fmt.Errorf("checksum: %w", errCorrupt)
	}
	if body[0] != formatVersion {
		return nil, fmt.Errorf("version %d: %w", body[0], errVersion)
	}
	if body[1] != typ {
		return nil, fmt.Errorf("type %q: %w", body[1], errCorrupt)
	}
	return &reader{data: body[2:]}, nil
}

// part is one part of an item or of an epoch.
type part struct {
	seq     uint64 // of the snapshot; 0 for an epoch
	of      int    // parts of the whole
	payload []byte
}

func encodePart(typ byte, seq uint64, of int, payload []byte) []byte {
	b := make([]byte, 0, len(payload)+32)
	b = append(b, formatVersion, typ)
	b = binary.AppendUvarint(b, seq)
	b = binary.AppendUvarint(b, uint64(of))
	b = append(b, payload...)
	return sealValue(b)
}

func decodePart(typ byte, value []byte) (part, error) {
	r, err := openValue(typ, value)
	if err != nil {
		return part{}, err
	}
	p := part{seq: r.uvarint(), of: int(r.uvarint())}
	if r.bad || p.of < 1 || p.of > len(value)<<24 {
		return part{}, errCorrupt
	}
	p.payload = r.data
	return p, nil
}

// entry is an item of a manifest: where it lies and what it must be.
type entry struct {
	item   string
	seq    uint64 // of the snapshot that wrote it
	slot   int
	parts  int
	length int
	sum    uint64
	from   int64 // of an epoch: the offset from which it holds
}

// manifest describes a complete snapshot.
type manifest struct {
	seq     uint64
	cut     int64 // the input offset N: all records below it are in the snapshot
	buckets int
	entries []entry // in the order of their writing; empty buckets are absent
}

func (m *manifest) encode() []byte {
	b := []byte{formatVersion, typeManifest}
	b = binary.AppendUvarint(b, m.seq)
	b = binary.AppendVarint(b, m.cut)
	b = binary.AppendUvarint(b, uint64(m.buckets))
	b = binary.AppendUvarint(b, uint64(len(m.entries)))
	for _, e := range m.entries {
		b = binary.AppendUvarint(b, uint64(len(e.item)))
		b = append(b, e.item...)
		b = binary.AppendUvarint(b, e.seq)
		b = binary.AppendUvarint(b, uint64(e.slot))
		b = binary.AppendUvarint(b, uint64(e.parts))
		b = binary.AppendUvarint(b, uint64(e.length))
		b = binary.BigEndian.AppendUint64(b, e.sum)
		b = binary.AppendVarint(b, e.from)
	}
	return sealValue(b)
}

func decodeManifest(value []byte) (*manifest, error) {
	r, err := openValue(typeManifest, value)
	if err != nil {
		return nil, err
	}
	m := &manifest{seq: r.uvarint(), cut: r.varint(), buckets: int(r.uvarint())}
	n := r.uvarint()
	if n > uint64(len(value)) {
		return nil, errCorrupt
	}
	m.entries = make([]entry, 0, n)
	for range n {
		e := entry{item: string(r.bytes(r.uvarint())), seq: r.uvarint(), slot: int(r.uvarint()), parts: int(r.uvarint()), length: int(r.uvarint())}
		e.sum = r.uint64()
		e.from = r.varint()
		m.entries = append(m.entries, e)
	}
	if r.bad || len(r.data) != 0 {
		return nil, errCorrupt
	}
	return m, nil
}

func (m *manifest) find(item string) *entry {
	for i := range m.entries {
		if m.entries[i].item == item {
			return &m.entries[i]
		}
	}
	return nil
}

// reader reads a body; after the first error all its results are zero.
type reader struct {
	data []byte
	bad  bool
}

func (r *reader) fail() { r.bad, r.data = true, nil }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *reader) uint64() uint64 {
	b := r.bytes(8)
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.data)) {
		r.fail()
		return nil
	}
	b := r.data[:n]
	r.data = r.data[n:]
	return b
}

// split cuts data into parts of at most size bytes, at least one.
func split(data []byte, size int) [][]byte {
	var parts [][]byte
	for len(data) > size {
		parts = append(parts, data[:size])
		data = data[size:]
	}
	return append(parts, data)
}

// bucketOfItem returns the bucket of an item that is one.
func bucketOfItem(name string) (int, bool) {
	text, ok := strings.CutPrefix(name, "b/")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}
