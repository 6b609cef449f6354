package cloudtrail

// Memory is how many bytes of input the reader can hold.
func (r *Reader) Memory() int { return cap(r.w.buf) + cap(r.head) }

// The bounds that tests need.
const (
	MaxRecord  = maxRecord
	MaxTargets = maxTargets
)
