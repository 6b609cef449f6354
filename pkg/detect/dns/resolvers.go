package dns

import "net/netip"

// resolver is an operator of public resolvers that speak encrypted DNS.
type resolver struct {
	name string
	// domains are the names of its servers; names below them are too.
	domains []string
	// networks are the addresses that serve nothing but DNS, as addresses or
	// prefixes. An operator whose servers stand behind a shared front has none.
	networks []string
}

func (r *resolver) prefixes() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(r.networks))
	for _, n := range r.networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			a := netip.MustParseAddr(n)
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p)
	}
	return out
}

// publicResolvers are the resolvers that browsers, operating systems and
// well-known clients offer. Names and addresses are facts that the operators
// publish, compiled from:
//
//   - Chromium, net/dns/public/doh_provider_entry.cc (the providers of its menu)
//   - "Known DNS Providers", AdGuard DNS knowledge base, general/dns-providers
//   - the operators' own pages: developers.google.com/speed/public-dns,
//     developers.cloudflare.com/1.1.1.1, quad9.net/service/service-addresses-and-features,
//     mullvad.net/help/dns-over-https-and-dns-over-tls, nextdns.io, controld.com/free-dns,
//     joindns4.eu, cira.ca/canadian-shield
//
// A resolver that is not in the list is found by its port, by its ALPN or by
// what its name says, see encrypted-dns.
var publicResolvers = []resolver{
	{"Google Public DNS", []string{"dns.google", "dns.google.com", "8888.google"}, []string{
		"8.8.8.8", "8.8.4.4", "2001:4860:4860::8888", "2001:4860:4860::8844", "2001:4860:4860::64", "2001:4860:4860::6464",
	}},
	{"Cloudflare", []string{"cloudflare-dns.com", "dns.cloudflare.com", "one.one.one.one", "cloudflare-gateway.com"}, []string{
		"1.1.1.1", "1.0.0.1", "1.1.1.2", "1.0.0.2", "1.1.1.3", "1.0.0.3",
		"2606:4700:4700::/48", "104.16.248.249", "104.16.249.249", "2606:4700::6810:f8f9", "2606:4700::6810:f9f9",
		"162.159.61.3", "172.64.41.3", "162.159.36.1", "162.159.46.1",
	}},
	{"Quad9", []string{"dns.quad9.net", "dns9.quad9.net", "dns10.quad9.net", "dns11.quad9.net", "dns12.quad9.net", "dns13.quad9.net"}, []string{
		"9.9.9.9", "9.9.9.10", "9.9.9.11", "9.9.9.12", "149.112.112.0/24", "2620:fe::/48",
	}},
	{"Cisco OpenDNS and Umbrella", []string{
		"doh.opendns.com", "dns.opendns.com", "familyshield.opendns.com", "sandbox.opendns.com", "doh.umbrella.com", "dns.umbrella.com",
	}, []string{
		"208.67.222.222", "208.67.220.220", "208.67.222.220", "208.67.220.222", "208.67.222.123", "208.67.220.123",
		"208.67.222.2", "208.67.220.2", "146.112.41.2", "146.112.41.3",
		"2620:119:35::/48", "2620:119:53::/48", "2620:0:ccc::2", "2620:0:ccd::2",
	}},
	{"AdGuard DNS", []string{"adguard-dns.com", "dns.adguard.com", "dns-family.adguard.com", "dns-unfiltered.adguard.com"}, []string{
		"94.140.14.0/24", "94.140.15.0/24", "2a10:50c0::/32",
	}},
	{"NextDNS", []string{"dns.nextdns.io", "dns1.nextdns.io", "dns2.nextdns.io"}, []string{
		"45.90.28.0/24", "45.90.30.0/24", "2a07:a8c0::/32", "2a07:a8c1::/32",
	}},
	{"Control D", []string{"dns.controld.com", "freedns.controld.com"}, []string{
		"76.76.2.0/24", "76.76.10.0/24", "2606:1a40::/48", "2606:1a40:1::/48",
	}},
	{"CleanBrowsing", []string{
		"doh.cleanbrowsing.org", "dns.cleanbrowsing.org", "family-filter-dns.cleanbrowsing.org", "adult-filter-dns.cleanbrowsing.org",
		"security-filter-dns.cleanbrowsing.org",
	}, []string{
		"185.228.168.0/24", "185.228.169.0/24", "2a0d:2a00:1::/48", "2a0d:2a00:2::/48",
	}},
	{"Mullvad", []string{"dns.mullvad.net", "doh.mullvad.net"}, []string{"194.242.2.0/24", "2a07:e340::/32"}},
	{"DNS.SB", []string{"doh.dns.sb", "doh.sb", "dot.sb"}, []string{"185.222.222.222", "45.11.45.11", "2a09::", "2a11::"}},
	{"DNS4EU", []string{
		"protective.joindns4.eu", "child.joindns4.eu", "noads.joindns4.eu", "child-noads.joindns4.eu", "unfiltered.joindns4.eu",
	}, []string{
		"86.54.11.0/24", "2a13:1001::86:54:11:1", "2a13:1001::86:54:11:201", "2a13:1001::86:54:11:100",
		"2a13:1001::86:54:11:12", "2a13:1001::86:54:11:13", "2a13:1001::86:54:11:200", "2a13:1001::86:54:11:212", "2a13:1001::86:54:11:213",
	}},
	{"dns0.eu", []string{"dns0.eu"}, []string{"193.110.81.0/24", "185.253.5.0/24"}},
	{"CZ.NIC ODVR", []string{"odvr.nic.cz"}, []string{"185.43.135.1", "193.17.47.1", "2001:148f:fffe::1", "2001:148f:ffff::1"}},
	{"CIRA Canadian Shield", []string{"canadianshield.cira.ca"}, []string{
		"149.112.121.10", "149.112.122.10", "149.112.121.20", "149.112.122.20", "149.112.121.30", "149.112.122.30",
	}},
	{"Alibaba AliDNS", []string{"dns.alidns.com"}, []string{"223.5.5.5", "223.6.6.6", "2400:3200::1", "2400:3200:baba::1"}},
	{"DNSPod", []string{"doh.pub", "dot.pub", "dns.pub"}, []string{"1.12.12.12", "120.53.53.53", "119.29.29.29", "2402:4e00::"}},
	{"360 Secure DNS", []string{"doh.360.cn", "dot.360.cn"}, []string{
		"101.226.4.6", "218.30.118.6", "123.125.81.6", "140.207.198.6",
	}},
	{"CFIEC", []string{"dns.cfiec.net"}, []string{"240c::6666", "240c::6644"}},
	{"TWNIC Quad101", []string{"dns.twnic.tw"}, []string{"101.101.101.101", "101.102.103.104", "2001:de4::101", "2001:de4::102"}},
	{"IIJ", []string{"public.dns.iij.jp"}, nil},
	{"Yandex", []string{"common.dot.dns.yandex.net", "safe.dot.dns.yandex.net", "family.dot.dns.yandex.net", "dns.yandex.net"}, []string{
		"77.88.8.8", "77.88.8.1", "77.88.8.88", "77.88.8.2", "77.88.8.7", "77.88.8.3", "2a02:6b8::feed:ff", "2a02:6b8:0:1::feed:ff",
	}},
	{"Hurricane Electric", []string{"ordns.he.net"}, []string{"74.82.42.42", "2001:470:20::2"}},
	{"Vercara UltraDNS", nil, []string{
		"64.6.64.6", "64.6.65.6", "156.154.70.0/24", "156.154.71.0/24", "2610:a1:1018::/48", "2610:a1:1019::/48",
		"2620:74:1b::1:1", "2620:74:1c::2:2",
	}},
	{"SafeDNS", nil, []string{"195.46.39.39", "195.46.39.40"}},
	{"Comodo Secure DNS", nil, []string{"8.26.56.26", "8.20.247.20"}},
	{"Surfshark DNS", []string{"dns.surfsharkdns.com"}, []string{"194.169.169.169", "2a09:a707:169::"}},
	{"Rethink DNS", []string{"basic.rethinkdns.com", "sky.rethinkdns.com", "max.rethinkdns.com"}, nil},
	{"OpenBLD.net", []string{"ada.openbld.net", "ric.openbld.net"}, nil},
	{"LibreDNS", []string{"doh.libredns.gr", "dot.libredns.gr"}, []string{"116.202.176.26"}},
	{"Applied Privacy", []string{"doh.applied-privacy.net", "dot1.applied-privacy.net"}, []string{"146.255.56.98"}},
	{"UncensoredDNS", []string{"unicast.uncensoreddns.org", "anycast.uncensoreddns.org", "unicast.censurfridns.dk", "anycast.censurfridns.dk"}, []string{
		"89.233.43.71", "91.239.100.100", "2001:67c:28a4::", "2a01:3a0:53:53::",
	}},
	{"Digitale Gesellschaft", []string{"dns.digitale-gesellschaft.ch"}, []string{"185.95.218.42", "185.95.218.43"}},
	{"SWITCH", []string{"dns.switch.ch"}, []string{"130.59.31.248", "130.59.31.251"}},
	{"FFMUC", []string{"doh.ffmuc.net", "dot.ffmuc.net"}, []string{"5.1.66.255", "185.150.99.255"}},
	{"Apple", []string{"doh.dns.apple.com"}, nil},
	{"Comcast Xfinity", []string{"doh.xfinity.com", "dot.xfinity.com"}, []string{"75.75.75.75", "75.75.76.76", "2001:558:feed::1", "2001:558:feed::2"}},
	{"Cox", []string{"doh.cox.net", "dot.cox.net"}, []string{"68.105.28.11", "68.105.28.12", "2001:578:3f::30"}},
	{"Spectrum", []string{"doh-01.spectrum.com", "doh-02.spectrum.com"}, []string{
		"209.18.47.61", "209.18.47.62", "2001:1998:f00:1::1", "2001:1998:f00:2::1",
	}},
	{"Quickline", []string{"doh.quickline.ch", "dot.quickline.ch"}, []string{
		"212.60.61.246", "212.60.63.246", "2001:1a88:10:ffff::1", "2001:1a88:10:ffff::2",
	}},
	{"Levonet", []string{"dns.levonet.sk"}, []string{"109.236.119.2", "109.236.120.2", "2a02:6ca3:0:1::2", "2a02:6ca3:0:2::2"}},
	{"AhaDNS and BlahDNS", []string{"doh.la.ahadns.net", "doh.nl.ahadns.net", "dot.la.ahadns.net", "dot.nl.ahadns.net", "doh-de.blahdns.com", "doh-jp.blahdns.com"}, nil},
	{"Stubby and Sinodun", []string{"getdnsapi.net", "dnsovertls.sinodun.com", "dnsovertls1.sinodun.com"}, []string{
		"185.49.141.37", "145.100.185.15", "145.100.185.16", "2a04:b900:0:100::37",
	}},
	{"RESTENA", []string{"kaitain.restena.lu"}, []string{"158.64.1.29"}},
	{"NIC Chile", []string{"dnsotls.lab.nic.cl"}, []string{"200.1.123.46"}},
	{"DNS-OARC", []string{"tls-dns-u.odvr.dns-oarc.net"}, []string{"184.105.193.78"}},
}
