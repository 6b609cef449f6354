package quality

import (
	"net/netip"
	"strings"
)

// uploads are the detectors of uploads that alert alone.
var uploads = []string{
	"upload-ratio", "sustained-upload", "slow-upload", "volume-fixed", "volume-anomaly", "new-destination-upload", "no-dns-upload",
	"distributed-upload", "mail-upload", "sanctioned-abuse", "foreign-tenant",
}

// Expected are the detectors any of which finds the capture.
func (c *Capture) expected() []string {
	switch x := c.Expected; {
	case strings.Contains(x, "ICMP"):
		return []string{"icmp-tunnel"}
	case strings.Contains(x, "DoH"):
		return []string{"encrypted-dns"}
	case strings.Contains(x, "DNS"):
		return []string{"dns-tunnel", "dns-not-dns"}
	case c.Label == Benign:
		return nil
	}
	return uploads
}

// family is the channel of a capture, for the tables.
func (c *Capture) family() string {
	switch x := c.Expected; {
	case strings.Contains(x, "ICMP"):
		return "icmp"
	case strings.Contains(x, "DoH"):
		return "doh"
	case strings.Contains(x, "DNS"):
		return "dns"
	case c.Label == Benign:
		return "benign"
	}
	return "upload"
}

// blind says why a source cannot show what the capture must be found by, ""
// where it can.
func (c *Capture) blind(s Source) string {
	switch {
	case s == Zeek && c.family() == "icmp":
		return "stock Zeek logs no contents of ICMP"
	case s == Flow && c.family() == "dns":
		return "flow logs have no names"
	case s == Flow && c.family() == "icmp":
		return "flow logs have no contents"
	}
	return ""
}

// profile is the benign hour into which attacks are mixed.
type profile struct {
	name     string
	captures []string
}

// profiles are what a desk and what a server does in an hour.
var profiles = []profile{
	{"desk", []string{"b_dns_browse", "b_dns_cdn_hash", "b_dns_ad", "b_https_down_20m", "b_https_up_3m", "b_mdns_avahi", "b_ping_56"}},
	{"server", []string{"b_dns_k8s", "b_dns_dnsbl", "b_dns_mailauth", "b_dns_avcloud", "b_dns_ptr4", "b_restic_rest", "b_smtp_small", "b_ping_1472"}},
}

// mixAt is when mixed hours begin: not on the hour, nor on a pane.
const mixAt = int64(1_795_430_321_000_000)

// alone is the capture by itself.
func alone(c *Capture, s Source, m *Mutation) ([]Input, netip.Addr, error) {
	rec, err := c.Recording(s)
	if err != nil {
		return nil, netip.Addr{}, err
	}
	client, _, err := c.Client()
	return []Input{{Recording: rec, Attack: c.Label != Benign, Edit: Edit{Mutation: m}}}, client, err
}

// stretched is the capture by itself, taking factor times as long.
func stretched(c *Capture, s Source, factor float64) ([]Input, netip.Addr, error) {
	in, client, err := alone(c, s, nil)
	if err != nil {
		return nil, client, err
	}
	_, start, err := c.Client()
	in[0].Edit = Edit{Origin: start, At: mixAt, Stretch: factor}
	return in, client, err
}

// mixed is the capture inside a benign hour of its client: the hour's logs of
// the same sensor, an hour-long connection, and the flow logs of all of it, ten
// minutes late.
func (c *Corpus) mixed(x *Capture, s Source, p profile, m *Mutation) ([]Input, netip.Addr, error) {
	client, start, err := x.Client()
	if err != nil {
		return nil, client, err
	}
	// The attack begins a while into the hour, unless it takes all of it.
	at := mixAt + 20*60*second
	if x.Seconds > 2400 {
		at = mixAt
	}
	var out []Input
	add := func(x *Capture, e Edit, attack bool, sources ...Source) error {
		for _, s := range sources {
			rec, err := x.Recording(s)
			if err != nil {
				return err
			}
			out = append(out, Input{Recording: rec, Edit: e, Attack: attack})
		}
		return nil
	}
	if err := add(x, Edit{Origin: start, At: at, Mutation: m}, true, s); err != nil {
		return nil, client, err
	}
	// The flow log tells the same again: it is no further cost of the attack.
	if err := add(x, Edit{Origin: start, At: at, Mutation: m}, false, Flow); err != nil {
		return nil, client, err
	}
	for i, name := range p.captures {
		b := c.Named(name)
		from, begin, err := b.Client()
		if err != nil {
			return nil, client, err
		}
		e := Edit{Origin: begin, At: mixAt + int64(i)*7*60*second, From: from, To: client, Mutation: m}
		if b.Seconds > 600 {
			e.At = mixAt
		}
		if err := add(b, e, false, s, Flow); err != nil {
			return nil, client, err
		}
	}
	// A connection that goes on for the whole hour: a download at leisure.
	long := c.Named("b_https_down_20m")
	from, begin, err := long.Client()
	if err != nil {
		return nil, client, err
	}
	rec, err := long.Recording(s)
	if err != nil {
		return nil, client, err
	}
	out = append(out, Input{Recording: rec, Edit: Edit{Origin: begin, At: mixAt, Stretch: 3500 / long.Seconds, From: from, To: client, Mutation: m}})
	return out, client, nil
}
