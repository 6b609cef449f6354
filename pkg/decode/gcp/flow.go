package gcp

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// aYear is the longest window that is believed, in microseconds.
const aYear = 366 * 24 * 3600 * 1_000_000

// maxCounter is the largest counter that is believed: 2^53.
const maxCounter = 1 << 53

// flow maps a record of VPC flow logs (formats.md §2.2).
func (d *Decoder) flow(o *outer, project string) result {
	var f struct {
		Connection  rawjson.Value `json:"connection"`
		Bytes       rawjson.Value `json:"bytes_sent"`
		Packets     rawjson.Value `json:"packets_sent"`
		Start       rawjson.Value `json:"start_time"`
		End         rawjson.Value `json:"end_time"`
		Reporter    rawjson.Value `json:"reporter"`
		SrcInstance rawjson.Value `json:"src_instance"`
		DstInstance rawjson.Value `json:"dest_instance"`
		SrcVPC      rawjson.Value `json:"src_vpc"`
		DstVPC      rawjson.Value `json:"dest_vpc"`
		DstGoogle   rawjson.Value `json:"dest_google_service"`
	}
	var c struct {
		Src      rawjson.Value `json:"src_ip"`
		Dst      rawjson.Value `json:"dest_ip"`
		SrcPort  rawjson.Value `json:"src_port"`
		DstPort  rawjson.Value `json:"dest_port"`
		Protocol rawjson.Value `json:"protocol"`
	}
	if rawjson.ParseScanned(o.JSON, &f) != nil {
		return result{dead: decode.ReasonJSON}
	}
	if !rawjson.IsObject(f.Connection) || rawjson.ParseScanned(f.Connection, &c) != nil {
		return result{dead: decode.ReasonMissing}
	}
	reporter := rawjson.Text(f.Reporter)
	if strings.HasSuffix(reporter, "_GATEWAY") && (rawjson.IsObject(f.SrcInstance) || rawjson.IsObject(f.DstInstance)) {
		return result{ignored: ignoredGateway}
	}
	e := d.begin(TypeFlow)
	e.Kind = event.KindFlow
	src, err1 := netip.ParseAddr(rawjson.Text(c.Src))
	dst, err2 := netip.ParseAddr(rawjson.Text(c.Dst))
	if err1 != nil || err2 != nil {
		return result{dead: decode.ReasonValue}
	}
	e.Source.IP, e.Destination.IP = src.Unmap().WithZone(""), dst.Unmap().WithZone("")

	var ok bool
	if e.End, ok = micros(f.End); !ok {
		return result{dead: decode.ReasonMissing}
	}
	if e.Start, ok = micros(f.Start); !ok || e.Start > e.End || e.End-e.Start > aYear {
		e.Start = 0 // a window that cannot be: its end holds
	}
	e.Time = e.End

	e.Source.Port, e.Destination.Port = port(c.SrcPort), port(c.DstPort)
	if p := rawjson.Count(c.Protocol); p.Known() && p.Or(0) <= 255 {
		d.transport(uint8(p.Or(0)))
	}
	e.Network.Layer = event.LayerIP
	e.Source.Bytes, e.Source.Packets = counter(f.Bytes), counter(f.Packets)
	e.Source.IPBytes = e.Source.Bytes
	e.Flow.Sampled = true

	// What is said of the side that reported is said of "the interface".
	instance, vpc := f.SrcInstance, f.SrcVPC
	e.Flow.Direction = "egress"
	if strings.HasPrefix(reporter, "DEST") {
		instance, vpc = f.DstInstance, f.DstVPC
		e.Flow.Direction = "ingress"
	}
	e.Flow.InstanceID = rawjson.Text(rawjson.Get(instance, "vm_name"))
	e.Flow.VPC = rawjson.Text(rawjson.Get(vpc, "vpc_name"))
	e.Flow.Subnet = rawjson.Text(rawjson.Get(vpc, "subnetwork_name"))
	e.Flow.Service = rawjson.Text(rawjson.Get(f.DstGoogle, "type"))
	e.Cloud.Account = rawjson.Text(rawjson.Get(vpc, "project_id"))
	if e.Cloud.Account == "" {
		e.Cloud.Account = project
	}
	e.Cloud.Region = rawjson.Text(rawjson.Get(instance, "region"))
	d.identify("flow", reporter, rawjson.Text(c.Src), rawjson.Text(c.Dst), rawjson.Scalar(c.SrcPort), rawjson.Scalar(c.DstPort), rawjson.Scalar(c.Protocol),
		rawjson.Text(f.Start), rawjson.Text(f.End), rawjson.Scalar(f.Bytes), rawjson.Scalar(f.Packets))
	return result{}
}

// transport sets the name of a protocol, or its number.
func (d *Decoder) transport(p uint8) {
	switch p {
	case 1:
		d.ev.Network.Transport = "icmp"
	case 6:
		d.ev.Network.Transport = "tcp"
	case 17:
		d.ev.Network.Transport = "udp"
	case 58:
		d.ev.Network.Transport = "ipv6-icmp"
	default:
		d.number = strconv.AppendUint(d.number[:0], uint64(p), 10)
		d.ev.Network.Transport = rawjson.View(d.number)
	}
}

// port reads a port; 0 and what is none are absent.
func port(v rawjson.Value) event.Count {
	n := rawjson.Count(v)
	if n.Or(0) == 0 || n.Or(0) > 65535 {
		return event.Count{}
	}
	return n
}

// counter reads a counter; one that cannot be is absent.
func counter(v rawjson.Value) event.Count {
	n := rawjson.Count(v)
	if n.Or(0) > maxCounter {
		return event.Count{}
	}
	return n
}
