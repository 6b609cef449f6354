package operator

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
)

// ErrState reports that encoded state is damaged or of another format.
var ErrState = errors.New("malformed state")

// AppendString appends a length-prefixed string.
func AppendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// AppendInt appends a signed integer.
func AppendInt[T ~int | ~int32 | ~int64](dst []byte, n T) []byte {
	return binary.AppendVarint(dst, int64(n))
}

// AppendUint appends an unsigned integer.
func AppendUint[T ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~int](dst []byte, n T) []byte {
	return binary.AppendUvarint(dst, uint64(n))
}

// AppendFloat appends a float.
func AppendFloat(dst []byte, x float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(x))
}

// AppendBool appends a truth value.
func AppendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendAddr appends an address, valid or not.
func AppendAddr(dst []byte, a netip.Addr) []byte {
	raw, _ := a.MarshalBinary() // cannot fail
	return AppendString(dst, raw)
}

// Reader reads what the Append functions wrote. The first damage makes Err
// non-nil and all further values zero, so a caller checks once, at the end or
// before it allocates by a length that it read.
type Reader struct {
	data []byte
	err  error
}

// NewReader reads data.
func NewReader(data []byte) *Reader { return &Reader{data: data} }

// Err returns ErrState after damage.
func (r *Reader) Err() error { return r.err }

// Len returns the number of unread bytes.
func (r *Reader) Len() int { return len(r.data) }

func (r *Reader) fail() { r.data, r.err = nil, ErrState }

// Uint reads an unsigned integer.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.data = r.data[n:]
	return v
}

// Int reads a signed integer.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.data = r.data[n:]
	return v
}

// Count reads the length of a list whose elements take at least one byte
// each, so that damage cannot make a reader allocate without bound.
func (r *Reader) Count() int {
	n := r.Uint()
	if n > uint64(len(r.data)) {
		r.fail()
		return 0
	}
	return int(n)
}

// Bytes reads a length-prefixed string as a view into the data.
func (r *Reader) Bytes() []byte {
	n := r.Count()
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b
}

// String reads a length-prefixed string as a copy.
func (r *Reader) String() string { return string(r.Bytes()) }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.data) < 1 {
		r.fail()
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

// Float reads a float.
func (r *Reader) Float() float64 {
	if len(r.data) < 8 {
		r.fail()
		return 0
	}
	x := math.Float64frombits(binary.LittleEndian.Uint64(r.data))
	r.data = r.data[8:]
	return x
}

// Bool reads a truth value.
func (r *Reader) Bool() bool {
	if len(r.data) < 1 || r.data[0] > 1 {
		r.fail()
		return false
	}
	b := r.data[0] == 1
	r.data = r.data[1:]
	return b
}

// Addr reads an address.
func (r *Reader) Addr() netip.Addr {
	var a netip.Addr
	if err := a.UnmarshalBinary(r.Bytes()); err != nil {
		r.fail()
	}
	return a
}
