package input

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode/hostlog"
	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/decode/zeek"
)

// HeadBytes is how much of a file's beginning Recognise wants to see: enough
// for the first block of any compression.
const HeadBytes = 192 << 10

// Recognise tells what a file is from its beginning: head are up to HeadBytes
// raw bytes. The name is asked only where the content leaves a choice.
func Recognise(name string, head []byte) (Format, Compression) {
	c := compressionOf(head)
	if c != Plain {
		head = expandHead(head, c, maxText)
	}
	return formatOf(name, head), c
}

// maxText is how many decompressed bytes are looked at.
const maxText = 64 << 10

func compressionOf(head []byte) Compression {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd
	}
	return Plain
}

// magics are the first bytes of binary formats: pcap in both byte orders with
// microseconds and nanoseconds, pcapng's section header, Parquet.
var magics = []struct {
	magic string
	f     Format
}{
	{"\xd4\xc3\xb2\xa1", Pcap},
	{"\xa1\xb2\xc3\xd4", Pcap},
	{"\x4d\x3c\xb2\xa1", Pcap},
	{"\xa1\xb2\x3c\x4d", Pcap},
	{"\x0a\x0d\x0d\x0a", PcapNG},
	{"PAR1", VPCFlowParquet},
}

// formatOf recognises decompressed content. A host's log is what nothing else
// is: lines of syslog may hold anything.
func formatOf(name string, head []byte) Format {
	if f := ownFormat(name, head); f != Unknown {
		return f
	}
	if hostlog.Recognise(head) {
		return HostLog
	}
	return Unknown
}

// ownFormat recognises content that has a form of its own.
func ownFormat(name string, head []byte) Format {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.f
		}
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n\x00")
	// One foreign line at the beginning does not make a file unknown.
	for range 3 {
		if len(text) == 0 {
			return Unknown
		}
		if text[0] == '{' || text[0] == '[' {
			if f := jsonFormat(name, shapeOf(text)); f != Unknown {
				return f
			}
			if rest := behind(text); len(rest) > 0 && rest[0] == '{' {
				text = rest // a connectivity test may stand in front
				continue
			}
		}
		line, rest, more := bytes.Cut(text, []byte{'\n'})
		if f := lineFormat(name, bytes.TrimRight(line, "\r")); f != Unknown {
			return f
		}
		if !more {
			break
		}
		text = bytes.TrimLeft(rest, " \t\r\n")
	}
	return Unknown
}

// behind is what follows the first JSON document of a text.
func behind(text []byte) []byte {
	var scan rawjson.Scan
	n, status := scan.Feed(text)
	if status != rawjson.Done {
		return nil
	}
	return bytes.TrimLeft(text[n:], " \t\r\n")
}

// lineFormat recognises a line of text.
func lineFormat(name string, line []byte) Format {
	switch {
	case zeekHeader(line):
		return ZeekTSV
	case flowHeader(line), flowRecord(line):
		return VPCFlow
	case falcoText(line):
		return Falco
	}
	// Syslog and container runtimes put their own header in front of an alert.
	if at := bytes.Index(line, []byte(`{"`)); at > 0 && at < 512 {
		if f := jsonFormat(name, shapeOf(line[at:])); f == Falco {
			return f
		}
	}
	return Unknown
}

// zeekHeader recognises the first line of a TSV log: the separator behind any
// prefix, a list of fields, or bare column names.
func zeekHeader(line []byte) bool {
	if at := bytes.Index(line, []byte(`separator \x`)); at > 0 && at <= 16 {
		return true
	}
	if bytes.HasPrefix(line, []byte("#fields")) || bytes.HasPrefix(line, []byte("#path")) {
		return true
	}
	return bytes.HasPrefix(line, []byte("ts\t")) && (bytes.Contains(line, []byte("\tuid\t")) || bytes.Contains(line, []byte("\tfuid\t")))
}

// flowHeader recognises the header of a flow log file: column names only, in
// either spelling, among them an end and a source.
func flowHeader(line []byte) bool {
	var end, source bool
	for word := range bytes.FieldsSeq(line) {
		for i, c := range word {
			if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '_') {
				return false
			}
		}
		switch string(word) {
		case "end":
			end = true
		case "srcaddr", "pkt-srcaddr", "pkt_srcaddr":
			source = true
		}
	}
	return end && source
}

// flowRecord recognises a line in one of the formats that AWS writes when
// none is configured.
func flowRecord(line []byte) bool {
	if bytes.HasPrefix(line, []byte("6 TransitGateway")) {
		return true
	}
	words := bytes.Fields(line)
	return len(words) == 14 && string(words[0]) == "2" && slices.Contains([]string{"OK", "NODATA", "SKIPDATA"}, string(words[13]))
}

// falcoText recognises Falco's text form, "18:54:19.341081180: Warning …".
// Its decoder says what is wrong with it.
func falcoText(line []byte) bool {
	stamp, rest, ok := bytes.Cut(line, []byte(": "))
	if !ok || len(stamp) < 8 || !bytes.Contains(stamp, []byte{':'}) {
		return false
	}
	for _, c := range stamp {
		if (c < '0' || c > '9') && !strings.ContainsRune(":.-+TZ", rune(c)) {
			return false
		}
	}
	word, _, _ := bytes.Cut(rest, []byte{' '})
	return slices.Contains([]string{
		"emergency", "alert", "critical", "error", "warning", "notice", "info", "informational", "debug",
	}, strings.ToLower(string(word)))
}

// jsonFormat decides by the keys of the first object (formats.md §2.4, §3.11,
// §4.1, §5.2, §6, §8).
func jsonFormat(name string, s shape) Format {
	switch {
	case s.has("rule", "priority") && s.any("output_fields", "output", "time"):
		return Falco
	case s.has("eventVersion", "eventSource"), s.has("eventVersion", "eventName"), s.has("eventID", "eventSource"),
		s.has("Records"), s.has("detail-type", "detail"), s.any("digestStartTime", "eventData.eventVersion"):
		return CloudTrail
	case s.has("query_timestamp", "query_name"):
		return Resolver
	case s.has("messageType", "logEvents"):
		return wrapped(s.text["logEvents.message"])
	case s.has("logName") && s.any("insertId", "resource", "timestamp", "jsonPayload", "protoPayload", "textPayload"),
		s.has("message.data") && s.any("subscription", "message.messageId", "message.message_id"),
		s.any("receivedMessages", "notificationConfigName", "protopayload_auditlog"):
		return GCPLog
	case s.has("ts") && (s.any(zeekKeys...) || zeek.KnownLog(name)), s.tagged(), s.has("_path"),
		LogName(name) == "loaded_scripts": // the one log without a time
		return ZeekJSON
	case s.has("@timestamp") && s.any("source.ip", "source.address", "client.ip", "destination.ip"):
		return ECS
	case s.has("message"):
		text := s.text["message"]
		if strings.HasPrefix(text, `{\"ts\"`) || strings.Contains(text, `\"uid\"`) || strings.HasPrefix(text, "#separator") {
			return ZeekJSON
		}
		if f := wrapped(text); f == VPCFlow || f == Resolver {
			return f
		}
	}
	if s.has("@timestamp") && s.any("ecs.version", "event.module", "event.dataset", "event.category", "network.transport") {
		return ECS
	}
	return Unknown
}

// zeekKeys are fields of which every Zeek record with a time has one.
var zeekKeys = []string{"uid", "id.orig_h", "id_orig_h", "_path", "fuid", "peer", "_write_ts", "gaps", "pkts_proc", "conn_uids"}

// wrapped recognises a record inside a string of JSON.
func wrapped(text string) Format {
	switch {
	case strings.HasPrefix(text, "{") && resolverKey(text):
		return Resolver
	case strings.HasPrefix(text, "{"):
		return CloudTrail
	case len(text) > 2 && text[0] >= '0' && text[0] <= '9' && strings.Contains(text, " "):
		return VPCFlow
	}
	return Unknown
}

// resolverKey reports whether the beginning of JSON inside a string has a key
// of the resolver's query logs and of no CloudTrail record.
func resolverKey(text string) bool {
	for _, key := range []string{`query_timestamp\"`, `query_name\"`, `account_id\"`, `vpc_id\"`, `srcaddr\"`, `srcids\"`} {
		if strings.Contains(text, key) {
			return true
		}
	}
	return false
}

// LogName is the name of a log without rotation and ending: the base name up
// to its first dot.
func LogName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(filepath.ToSlash(path)), ".")
	return name
}
