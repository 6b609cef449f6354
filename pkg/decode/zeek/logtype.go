package zeek

import "bytes"

// logType is what kind of log a record belongs to.
type logType uint8

// The logs that give events, and logOther for all that do not.
const (
	logUnknown logType = iota
	logConn
	logDNS
	logExfil // dns_exfil.log, written by deploy/zeek/ebbwatch.zeek
	logEcho  // icmp_echo.log, by the same
	logSSL
	logQUIC
	logHTTP
	logFiles
	logSMTP
	logWeird
	logFTP
	logSMBFiles
	logDHCP
	logNTLM
	logStats
	logLoss
	logOther
)

// logNamed returns the log of a path as Zeek names it. Open tells that the
// log holds snapshots of what goes on: open_conn and its like, and the
// conn_long of the long-connections package. The result is logUnknown for a
// name that stock Zeek does not use.
func logNamed(name []byte) (t logType, open bool) {
	if rest, ok := bytes.CutPrefix(name, []byte("open_")); ok {
		name, open = rest, true
	}
	t, long := stockLog(name)
	return t, open || long
}

func stockLog(name []byte) (t logType, long bool) {
	switch string(name) {
	case "conn":
		return logConn, false
	case "dns":
		return logDNS, false
	case "dns_exfil":
		return logExfil, false
	case "icmp_echo":
		return logEcho, false
	case "ssl":
		return logSSL, false
	case "quic":
		return logQUIC, false
	case "http":
		return logHTTP, false
	case "files":
		return logFiles, false
	case "smtp":
		return logSMTP, false
	case "weird":
		return logWeird, false
	case "ftp":
		return logFTP, false
	case "smb_files":
		return logSMBFiles, false
	case "dhcp":
		return logDHCP, false
	case "ntlm":
		return logNTLM, false
	case "stats":
		return logStats, false
	case "capture_loss":
		return logLoss, false
	case "conn_long", "long_conn", "conn_snapshot":
		return logConn, true
	case "analyzer", "analyzer_debug", "barnyard2", "broker", "capture", "cluster", "communication", "config",
		"dce_rpc", "dnp3", "dnp3_control", "dnp3_objects", "dpd", "http2", "intel", "ipsec", "irc",
		"kerberos", "known_certs", "known_devices", "known_hosts", "known_modbus", "known_services",
		"ldap", "ldap_search", "loaded_scripts", "modbus", "modbus_register_change", "mqtt_connect",
		"mqtt_publish", "mqtt_subscribe", "mysql", "netcontrol", "netcontrol_catch_release",
		"netcontrol_drop", "netcontrol_shunt", "notice", "notice_alarm", "ntp", "ocsp", "openflow",
		"packet_filter", "pe", "postgresql", "print", "prof", "profinet", "radius", "rdp", "redis", "reporter",
		"rfb", "signatures", "sip", "smb_cmd", "smb_mapping", "snmp", "socks", "software",
		"ssh", "stun", "stun_nat", "suricata_corelight", "syslog", "tds", "telemetry", "telemetry_histogram",
		"traceroute", "tunnel", "unified2", "unknown_protocols", "weird_stats", "websocket", "wireguard", "x509":
		return logOther, false
	}
	return logUnknown, false
}

// hinted reads the name of a file or topic ("conn.2025-08-20-15-23-42.log.gz",
// "spool/dns.log", "conn"): the first part between dots that names a log.
func hinted(name string) (t logType, open bool) {
	b := []byte(name)
	if i := bytes.LastIndexAny(b, `/\`); i >= 0 {
		b = b[i+1:]
	}
	for part := range bytes.SplitSeq(b, []byte{'.'}) {
		if t, open = logNamed(bytes.ToLower(part)); t != logUnknown {
			return t, open
		}
	}
	return logUnknown, false
}

// KnownLog reports whether a file or topic is called like a log of stock Zeek,
// whatever stands before and behind it ("spool/x509.log", "dns.08:00.log.gz").
func KnownLog(name string) bool {
	t, _ := hinted(name)
	return t != logUnknown
}

// signature guesses the log from the fields that a record has (formats.md
// §3.11), logUnknown where they do not tell.
func (s fieldSet) signature() logType {
	switch {
	case s.has(fNote), s.has(fSIP):
		return logOther
	case s.hasAny(fConnState, fOrigIPBytes), s.has(fHistory) && !s.hasAny(fClientDCID, fClientProtocol):
		return logConn
	case s.hasAny(fEntropy, fTXTSize) && !s.has(fTransID):
		return logExfil
	case s.has(fICMPType) && s.has(fPayloadHash):
		return logEcho
	case s.hasAny(fQTypeName, fRCodeName), s.has(fTransID) && s.hasAny(fQuery, fRejected):
		return logDNS
	case s.has(fClientDCID), s.has(fClientProtocol) && s.has(fServerName):
		return logQUIC
	case s.hasAny(fCipher, fSSLHistory), s.has(fServerName) && s.has(fEstablished):
		return logSSL
	case s.hasAny(fMailFrom, fRcptTo, fHelo):
		return logSMTP
	case s.has(fTransDepth) && s.hasAny(fMethod, fURI, fRequestLen):
		return logHTTP
	case s.has(fFUID) && s.has(fSeenBytes):
		return logFiles
	case s.has(fName) && s.has(fPeer) && s.has(fNotice):
		return logWeird
	case s.has(fMessageTypes), s.has(fAssigned):
		return logDHCP
	case s.has(fCommand) && s.hasAny(fArg, fReplyCode):
		return logFTP
	case s.has(fAction) && s.has(fFolder):
		return logSMBFiles
	case s.has(fWorkstation) && s.hasAny(fDomainName, fSuccess):
		return logNTLM
	case s.has(fElsewhere):
		return logOther
	case s.has(fPktsProc):
		return logStats
	case s.has(fPercentLost) && s.hasAny(fAcks, fGaps):
		return logLoss
	}
	return logUnknown
}

// supports reports whether the record has any field that the log is known by.
func (s fieldSet) supports(t logType) bool {
	switch t {
	case logConn:
		return s.hasAny(fConnState, fHistory, fOrigIPBytes, fOrigBytes)
	case logDNS:
		return s.hasAny(fQuery, fTransID, fQTypeName, fRCodeName)
	case logExfil:
		return s.hasAny(fEntropy, fTXTSize, fResponseSize)
	case logEcho:
		return s.hasAny(fICMPType, fPayloadHash)
	case logSSL:
		return s.hasAny(fCipher, fServerName, fSSLHistory, fEstablished)
	case logQUIC:
		return s.hasAny(fClientDCID, fClientProtocol, fServerName, fHistory)
	case logHTTP:
		return s.hasAny(fMethod, fURI, fHost, fRequestLen, fResponseLen, fStatusCode)
	case logFiles:
		return s.hasAny(fFUID, fSeenBytes)
	case logSMTP:
		return s.hasAny(fHelo, fMailFrom, fRcptTo, fTLS)
	case logWeird:
		return s.has(fName)
	case logFTP:
		return s.has(fCommand)
	case logSMBFiles:
		return s.has(fAction)
	case logDHCP:
		return s.hasAny(fMessageTypes, fAssigned, fClientAddr, fHostName)
	case logNTLM:
		return s.hasAny(fWorkstation, fDomainName, fSuccess)
	case logStats:
		return s.has(fPktsProc)
	case logLoss:
		return s.has(fPercentLost)
	default: // logUnknown and logOther are known by nothing
		return false
	}
}
