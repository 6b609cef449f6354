package site

// builtinLookups are domains whose names are questions, not data: block and
// allow lists of mail, reputation of files and addresses, measurement. A site
// adds its own under lookup_domains. The names are those that the operators
// publish.
var builtinLookups = []string{
	// Mail block and allow lists.
	"spamhaus.org", "spamhaus.net", "dq.spamhaus.net", "spamcop.net", "barracudacentral.org", "sorbs.net", "surbl.org",
	"uribl.com", "dnswl.org", "senderscore.com", "psbl.surriel.com", "uceprotect.net", "abuseat.org", "mailspike.net",
	"invaluement.com", "hostkarma.junkemailfilter.com", "0spam.org", "spamrats.com", "blocklist.de",
	// Address and routing look-ups.
	"origin.asn.cymru.com", "origin6.asn.cymru.com", "peer.asn.cymru.com", "asn.cymru.com", "asn.shadowserver.org",
	// File and address reputation of security products.
	"malware.hash.cymru.com", "avqs.mcafee.com", "avts.mcafee.com", "sophosxl.net", "e5.sk", "rep.trendmicro.com",
	"url.trendmicro.com", "cloud.sophos.com", "hash.cymru.com",
}
