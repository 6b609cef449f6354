package zeek

// field is one of the fields of Zeek's logs that this package reads.
type field uint8

// The fields, by the log that introduces them.
const (
	fNone field = iota

	// Nearly every log.
	fTS
	fUID
	fOrigH
	fOrigP
	fRespH
	fRespP
	fProto

	// conn.
	fService
	fDuration
	fOrigBytes
	fRespBytes
	fConnState
	fMissedBytes
	fHistory
	fOrigPkts
	fOrigIPBytes
	fRespPkts
	fRespIPBytes
	fIPProto

	// dns and dns_exfil.
	fTransID
	fRTT
	fQuery
	fQType
	fQTypeName
	fRCode
	fRCodeName
	fAnswers
	fTTLs
	fTotalAnswers
	fRejected
	fEntropy
	fTXTSize
	fResponseSize
	fAnswerCount

	// icmp_echo.
	fICMPType
	fICMPCode
	fICMPID
	fICMPSeq
	fPayloadLength
	fPayloadHash
	fContentHash

	// ssl and quic.
	fVersion
	fCipher
	fServerName
	fNextProtocol
	fEstablished
	fSSLHistory
	fJA3
	fJA4
	fClientDCID
	fClientProtocol

	// http.
	fTransDepth
	fMethod
	fHost
	fURI
	fUserAgent
	fRequestLen
	fResponseLen
	fStatusCode
	fSIP // a field of sip.log, which otherwise looks like http

	// files.
	fFUID
	fTxHosts
	fRxHosts
	fConnUIDs
	fSource
	fMimeType
	fFilename
	fIsOrig
	fSeenBytes
	fSHA256

	// smtp.
	fHelo
	fMailFrom
	fRcptTo
	fFrom
	fTo
	fTLS

	// weird, notice.
	fName
	fPeer
	fNotice
	fNote

	// ftp, smb_files.
	fCommand
	fArg
	fFileSize
	fReplyCode
	fAction
	fFolder
	fSize

	// dhcp, ntlm.
	fMessageTypes
	fAssigned
	fClientAddr
	fServerAddr
	fHostName
	fWorkstation
	fDomainName
	fSuccess

	fElsewhere // of logs that are not used: ssh, tunnel, smb_mapping, x509

	// stats, capture_loss.
	fPktsProc
	fPktsDropped
	fPktsLink
	fTSDelta
	fGaps
	fAcks
	fPercentLost

	// What transports add.
	fPath    // _path: the log's name
	fMessage // a shipper's copy of the whole line
	fLogFile // the file that a shipper read

	fieldCount
)

// fieldNamed returns the field of a name in Zeek's own spelling.
func fieldNamed(name []byte) field {
	switch string(name) {
	case "ts":
		return fTS
	case "uid":
		return fUID
	case "id.orig_h", "id_orig_h":
		return fOrigH
	case "id.orig_p", "id_orig_p":
		return fOrigP
	case "id.resp_h", "id_resp_h":
		return fRespH
	case "id.resp_p", "id_resp_p":
		return fRespP
	case "proto":
		return fProto
	case "service":
		return fService
	case "duration":
		return fDuration
	case "orig_bytes":
		return fOrigBytes
	case "resp_bytes":
		return fRespBytes
	case "conn_state":
		return fConnState
	case "missed_bytes":
		return fMissedBytes
	case "history":
		return fHistory
	case "orig_pkts":
		return fOrigPkts
	case "orig_ip_bytes":
		return fOrigIPBytes
	case "resp_pkts":
		return fRespPkts
	case "resp_ip_bytes":
		return fRespIPBytes
	case "ip_proto":
		return fIPProto
	case "trans_id":
		return fTransID
	case "rtt":
		return fRTT
	case "query":
		return fQuery
	case "qtype":
		return fQType
	case "qtype_name":
		return fQTypeName
	case "rcode":
		return fRCode
	case "rcode_name":
		return fRCodeName
	case "answers":
		return fAnswers
	case "TTLs":
		return fTTLs
	case "total_answers":
		return fTotalAnswers
	case "rejected":
		return fRejected
	case "subdomain_entropy":
		return fEntropy
	case "txt_response_size":
		return fTXTSize
	case "response_size":
		return fResponseSize
	case "answer_count":
		return fAnswerCount
	case "icmp_type":
		return fICMPType
	case "icmp_code":
		return fICMPCode
	case "icmp_id":
		return fICMPID
	case "icmp_seq":
		return fICMPSeq
	case "payload_length":
		return fPayloadLength
	case "payload_hash":
		return fPayloadHash
	case "content_hash":
		return fContentHash
	case "version":
		return fVersion
	case "cipher":
		return fCipher
	case "server_name":
		return fServerName
	case "next_protocol":
		return fNextProtocol
	case "established":
		return fEstablished
	case "ssl_history":
		return fSSLHistory
	case "ja3":
		return fJA3
	case "ja4":
		return fJA4
	case "client_initial_dcid":
		return fClientDCID
	case "client_protocol":
		return fClientProtocol
	case "trans_depth":
		return fTransDepth
	case "method":
		return fMethod
	case "host":
		return fHost
	case "uri":
		return fURI
	case "user_agent":
		return fUserAgent
	case "request_body_len":
		return fRequestLen
	case "response_body_len":
		return fResponseLen
	case "status_code":
		return fStatusCode
	case "call_id", "request_from", "request_path":
		return fSIP
	case "fuid":
		return fFUID
	case "tx_hosts":
		return fTxHosts
	case "rx_hosts":
		return fRxHosts
	case "conn_uids":
		return fConnUIDs
	case "source":
		return fSource
	case "mime_type":
		return fMimeType
	case "filename":
		return fFilename
	case "is_orig":
		return fIsOrig
	case "seen_bytes":
		return fSeenBytes
	case "sha256":
		return fSHA256
	case "helo":
		return fHelo
	case "mailfrom":
		return fMailFrom
	case "rcptto":
		return fRcptTo
	case "from":
		return fFrom
	case "to":
		return fTo
	case "tls":
		return fTLS
	case "name":
		return fName
	case "peer":
		return fPeer
	case "notice":
		return fNotice
	case "note":
		return fNote
	case "command":
		return fCommand
	case "arg":
		return fArg
	case "file_size":
		return fFileSize
	case "reply_code":
		return fReplyCode
	case "action":
		return fAction
	case "path":
		return fFolder
	case "size":
		return fSize
	case "msg_types":
		return fMessageTypes
	case "assigned_addr", "assigned_ip":
		return fAssigned
	case "client_addr":
		return fClientAddr
	case "server_addr":
		return fServerAddr
	case "host_name":
		return fHostName
	case "hostname":
		return fWorkstation
	case "domainname":
		return fDomainName
	case "success":
		return fSuccess
	case "auth_attempts", "auth_success", "hassh", "tunnel_type", "share_type", "certificate.version", "certificate.serial":
		return fElsewhere
	case "pkts_proc":
		return fPktsProc
	case "pkts_dropped":
		return fPktsDropped
	case "pkts_link":
		return fPktsLink
	case "ts_delta":
		return fTSDelta
	case "gaps":
		return fGaps
	case "acks":
		return fAcks
	case "percent_lost":
		return fPercentLost
	case "_path":
		return fPath
	case "message":
		return fMessage
	case "log.file.path", "log_file_path":
		return fLogFile
	}
	// Log::default_scope_sep may be any character.
	if len(name) == len("id.orig_h") && name[0] == 'i' && name[1] == 'd' {
		return endpointNamed(name[3:])
	}
	return fNone
}

// endpointNamed returns the field of a name inside a nested "id" object.
func endpointNamed(name []byte) field {
	switch string(name) {
	case "orig_h":
		return fOrigH
	case "orig_p":
		return fOrigP
	case "resp_h":
		return fRespH
	case "resp_p":
		return fRespP
	}
	return fNone
}

// fieldSet is a set of fields.
type fieldSet [2]uint64

// with returns s and f; fNone adds nothing that anyone asks for.
func (s fieldSet) with(f field) fieldSet {
	s[f>>6] |= 1 << (f & 63)
	return s
}

func (s fieldSet) has(f field) bool { return s[f>>6]>>(f&63)&1 != 0 }

func (s fieldSet) hasAny(fields ...field) bool {
	var wanted fieldSet
	for _, f := range fields {
		wanted = wanted.with(f)
	}
	return s[0]&wanted[0]|s[1]&wanted[1] != 0
}

// kind is the form in which a raw value was written.
type kind uint8

const (
	kindTSV    kind = iota // a column, \-escapes as in TSV
	kindString             // what stands between the quotes of a JSON string
	kindBare               // a JSON number, true or false
	kindArray              // a JSON array with its brackets
	kindObject             // a JSON object with its braces
)

// value is one raw value of a record; it aliases the line.
type value struct {
	b    []byte
	kind kind
	// plain is set on a string of printable ASCII without a backslash.
	plain bool
}

// record is one line, split into raw values. A field whose value is unset is
// not in the set.
type record struct {
	set fieldSet
	v   [fieldCount]value
}

func (r *record) reset() { r.set = fieldSet{} }

func (r *record) put(f field, v value) {
	r.set = r.set.with(f)
	r.v[f] = v
}

// get returns the value of a field, nil where it is unset.
func (r *record) get(f field) *value {
	if !r.set.has(f) {
		return nil
	}
	return &r.v[f]
}
