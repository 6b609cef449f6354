package dns

// name is a distinct name of a window.
type name struct {
	hash    uint64
	last    uint16 // tenths of a second from the window's start to its last look-up
	flags   flags
	lookups uint8 // saturated
	places  uint8 // how many labels
	bytes   uint8 // of its labels, saturated
}

// Key implements sketch.Hashed.
func (n name) Key() uint64 { return n.hash }

// flags of a name.
type flags uint16

const (
	// The address types that it was asked for: one look-up asks for several.
	askedA flags = 1 << iota
	askedAAAA
	askedHTTPS
	// askedData says that it was asked for a type that carries data to a host
	// and has no service label; askedOther for any type but these and addresses.
	askedData
	askedOther

	oddBytes // has bytes that no host name has
	quadName // begins with an IPv4 address

	gave   // an answer had records
	none   // an answer said that there are none (NXDOMAIN, NODATA, REFUSED)
	failed // an answer said that the resolver failed (SERVFAIL and the like)

	// resolved says that the time in which its addresses would have been
	// contacted has passed, contacted that one was.
	resolved
	contacted
)

const addressTypes = askedA | askedAAAA | askedHTTPS

// labelEntry is a distinct label of a window.
type labelEntry struct {
	hash   uint64
	places uint32 // bit per place at which it stood
	bytes  uint8
}

// Key implements sketch.Hashed.
func (l labelEntry) Key() uint64 { return l.hash }
