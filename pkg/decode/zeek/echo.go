package zeek

import (
	"strconv"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// echo maps icmp_echo.log, which deploy/zeek/ebbwatch.zeek writes: one ICMP
// message, with the names of its contents that a hash gives. The source is who
// sent the message, as it is of packets.
func (d *Decoder) echo() string {
	e := &d.ev
	e.Kind = event.KindICMP
	if reason := d.endpoints(); reason != "" {
		return reason
	}
	// Zeek gives the types of ICMP as ports.
	e.Source.Port, e.Destination.Port = event.Count{}, event.Count{}
	e.Network.Transport = "icmp"
	if e.Source.IP.Is6() {
		e.Network.Transport = "ipv6-icmp"
	}
	if d.rec.get(fIsOrig) != nil && !d.flag(fIsOrig) {
		e.Source.IP, e.Destination.IP = e.Destination.IP, e.Source.IP
	}
	e.ICMP = event.ICMP{
		Type:     d.octets(fICMPType, 0xff),
		Code:     d.octets(fICMPCode, 0xff),
		ID:       d.octets(fICMPID, 0xffff),
		Sequence: d.octets(fICMPSeq, 0xffff),
		Bytes:    d.octets(fPayloadLength, 0xffff),
		Hash:     d.hash(fPayloadHash),
		Content:  d.hash(fContentHash),
	}
	if !e.ICMP.Content.Known() {
		e.ICMP.Content = e.ICMP.Hash
	}
	return ""
}

// octets reads a number that a header holds; one beyond what fits is absent.
func (d *Decoder) octets(f field, most uint64) event.Count {
	c := d.count(f)
	if c.Or(0) > most {
		return event.Count{}
	}
	return c
}

// hash reads 16 digits of hex.
func (d *Decoder) hash(f field) event.Count {
	v := d.rec.get(f)
	if v == nil || len(v.b) != 16 {
		return event.Count{}
	}
	n, err := strconv.ParseUint(view(v.b), 16, 64)
	if err != nil {
		return event.Count{}
	}
	return event.N(n)
}
