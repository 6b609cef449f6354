package packet

import "strconv"

const (
	typeA    = 1
	typeAAAA = 28
)

// typeNames are the mnemonics of record types (IANA), but for those above 255
// and 255 itself, which IANA calls "*" and every tool ANY.
var typeNames = [...]string{
	1: "A", 2: "NS", 3: "MD", 4: "MF", 5: "CNAME", 6: "SOA", 7: "MB", 8: "MG", 9: "MR", 10: "NULL", 11: "WKS", 12: "PTR",
	13: "HINFO", 14: "MINFO", 15: "MX", 16: "TXT", 17: "RP", 18: "AFSDB", 19: "X25", 20: "ISDN", 21: "RT", 22: "NSAP",
	23: "NSAP-PTR", 24: "SIG", 25: "KEY", 26: "PX", 27: "GPOS", 28: "AAAA", 29: "LOC", 30: "NXT", 31: "EID", 32: "NB",
	33: "SRV", 34: "ATMA", 35: "NAPTR", 36: "KX", 37: "CERT", 38: "A6", 39: "DNAME", 40: "SINK", 41: "OPT", 42: "APL",
	43: "DS", 44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 49: "DHCID", 50: "NSEC3",
	51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP", 56: "NINFO", 57: "RKEY", 58: "TALINK", 59: "CDS", 60: "CDNSKEY",
	61: "OPENPGPKEY", 62: "CSYNC", 63: "ZONEMD", 64: "SVCB", 65: "HTTPS", 99: "SPF", 108: "EUI48", 109: "EUI64",
	249: "TKEY", 250: "TSIG", 251: "IXFR", 252: "AXFR", 253: "MAILB", 254: "MAILA", 255: "ANY",
}

// typeText is the text of event.DNS.Type. It may live in the Tracker's buffer.
func (t *Tracker) typeText(n uint16) string {
	switch {
	case int(n) < len(typeNames) && typeNames[n] != "":
		return typeNames[n]
	case n == 256:
		return "URI"
	case n == 257:
		return "CAA"
	}
	t.typ = strconv.AppendUint(append(t.typ[:0], "TYPE"...), uint64(n), 10)
	return view(t.typ)
}

// responseCodes are the texts of event.DNS.ResponseCode (RFC 6895 §2.3).
var responseCodes = [16]string{
	"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE",
	"DSOTYPENI", "RCODE12", "RCODE13", "RCODE14", "RCODE15",
}

// appendNameText appends the text form of a name as event.DNS.Name defines it.
func appendNameText(dst, wire []byte) []byte {
	if len(wire) <= 1 {
		return append(dst, '.')
	}
	for at := 0; at < len(wire) && wire[at] != 0; {
		if at > 0 {
			dst = append(dst, '.')
		}
		end := at + 1 + int(wire[at])
		for _, c := range wire[at+1 : end] {
			dst = appendNameByte(dst, c)
		}
		at = end
	}
	return dst
}

// appendNameByte appends a byte of a label, lower case; what is not printable
// ASCII, and what would read as part of the notation, becomes \xNN.
func appendNameByte(dst []byte, c byte) []byte {
	switch {
	case c-'A' <= 'Z'-'A':
		return append(dst, c+'a'-'A')
	case c < 0x20, c >= 0x7f, c == '.', c == '\\':
		const digits = "0123456789abcdef"
		return append(dst, '\\', 'x', digits[c>>4], digits[c&15])
	}
	return append(dst, c)
}
