package vpcflow

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// identify sets ID to the hash of the values that make two records the same
// (formats.md §9.2): account, interface or attachment, 5-tuple as seen at the
// interface, window and bytes. The action is in it as well, since a window
// may hold an accepted and a rejected record of one 5-tuple.
func (d *Decoder) identify(e *event.Event) {
	v := &d.value
	k := append(d.key[:0], v[account]...)
	k = append(k, 0)
	k = append(k, e.Flow.Interface...)
	k = append(k, 0)
	k = appendEndpoint(k, &e.Source)
	k = appendEndpoint(k, &e.Destination)
	k = append(k, e.Network.Transport...)
	k = append(k, 0)
	k = append(k, e.Flow.Action...)
	k = append(k, 0)
	k = binary.BigEndian.AppendUint64(k, uint64(e.Start))
	k = binary.BigEndian.AppendUint64(k, uint64(e.End))
	k = binary.BigEndian.AppendUint64(k, e.Source.Bytes.Or(1<<64-1))
	d.key = k
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], xxhash.Sum64(k))
	hex.Encode(d.id[:], sum[:])
	e.ID = rawjson.View(d.id[:])
}

func appendEndpoint(k []byte, p *event.Endpoint) []byte {
	ip := p.IP
	if p.NatIP.IsValid() {
		ip = p.NatIP
	}
	a := ip.As16()
	k = append(k, a[:]...)
	return binary.BigEndian.AppendUint32(k, uint32(p.Port.Or(1<<32-1)))
}
