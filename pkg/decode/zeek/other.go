package zeek

import (
	"bytes"
	"math"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// maxRecipients is how many an event lists (event.Mail).
const maxRecipients = 16

// tls maps ssl.log (formats.md §3.5) and quic.log.
func (d *Decoder) tls(t logType) string {
	e := &d.ev
	e.Kind = event.KindTLS
	if reason := d.endpoints(); reason != "" {
		return reason
	}
	e.Destination.Domain = d.hostName(fServerName)
	e.TLS.Version = d.text(d.rec.get(fVersion))
	e.TLS.JA3 = d.text(d.rec.get(fJA3))
	e.TLS.JA4 = d.text(d.rec.get(fJA4))
	e.TLS.Established = d.flag(fEstablished)
	if t == logQUIC {
		e.Network.Transport, e.Network.Protocol = "udp", "quic"
		e.TLS.ALPN = d.text(d.rec.get(fClientProtocol))
		return ""
	}
	e.Network.Protocol = "tls"
	e.TLS.ALPN = d.text(d.rec.get(fNextProtocol))
	// ssl.log does not name the transport and holds the handshakes of QUIC
	// too, which are of version 1.3.
	switch v := e.TLS.Version; {
	case len(v) > 4 && v[:4] == "DTLS":
		e.Network.Transport = "udp"
	case v != "" && (len(v) < 6 || v[:6] != "TLSv13"):
		e.Network.Transport = "tcp"
	}
	return ""
}

// http maps http.log (formats.md §3.6).
func (d *Decoder) http() string {
	e := &d.ev
	e.Kind = event.KindHTTP
	if reason := d.endpoints(); reason != "" {
		return reason
	}
	e.Network.Transport, e.Network.Protocol = "tcp", "http"
	e.Destination.Domain = d.hostName(fHost)
	e.HTTP = event.HTTP{
		Method:        d.text(d.rec.get(fMethod)),
		URL:           d.text(d.rec.get(fURI)),
		UserAgent:     d.text(d.rec.get(fUserAgent)),
		Status:        d.count(fStatusCode),
		RequestBytes:  d.count(fRequestLen),
		ResponseBytes: d.count(fResponseLen),
	}
	return ""
}

// files maps files.log (formats.md §3.7): with uid and id.* since Zeek 5.1,
// with sets of senders, receivers and uids before.
func (d *Decoder) files() string {
	e := &d.ev
	e.Kind = event.KindTransfer
	e.File.FromSource = d.flag(fIsOrig)
	if d.rec.set.hasAny(fOrigH, fRespH) {
		if reason := d.endpoints(); reason != "" {
			return reason
		}
	} else if reason := d.hosts(); reason != "" {
		return reason
	}
	if e.ID == "" {
		if uid, ok := d.first(fConnUIDs); ok {
			e.ID = d.text(&uid)
		}
	}
	e.File.ID = d.text(d.rec.get(fFUID))
	e.File.Path = d.text(d.rec.get(fFilename))
	e.File.MimeType = d.text(d.rec.get(fMimeType))
	e.File.Provider = d.text(d.rec.get(fSource))
	e.File.Size = d.count(fSeenBytes)
	e.File.SHA256 = d.text(d.rec.get(fSHA256))
	switch e.File.Provider {
	case "HTTP":
		e.Network.Protocol = "http"
	case "SMTP":
		e.Network.Protocol = "smtp"
	case "SMB":
		e.Network.Protocol = "smb"
	case "SSL":
		e.Network.Protocol = "tls"
	case "FTP_DATA":
		e.Network.Protocol = "ftp"
	}
	return ""
}

// nowhere reports whether an old files.log names neither sender nor receiver.
func (d *Decoder) nowhere() bool {
	_, tx := d.first(fTxHosts)
	_, rx := d.first(fRxHosts)
	return !tx && !rx
}

// hosts reads the endpoints of an old files.log: who sent is the originator
// of the connection if is_orig is set.
func (d *Decoder) hosts() string {
	tx, ok1 := d.first(fTxHosts)
	rx, ok2 := d.first(fRxHosts)
	if !ok1 || !ok2 {
		return decode.ReasonMissing
	}
	from, ok1 := parseAddr(tx.b)
	to, ok2 := parseAddr(rx.b)
	if !ok1 || !ok2 {
		return decode.ReasonValue
	}
	e := &d.ev
	e.Source.IP, e.Destination.IP = to, from
	if e.File.FromSource {
		e.Source.IP, e.Destination.IP = from, to
	}
	return ""
}

func (d *Decoder) first(f field) (value, bool) {
	l := d.list(d.rec.get(f))
	if !l.some {
		return value{}, false
	}
	return l.next()
}

// smtp maps smtp.log (formats.md §3.8). The envelope names the parties; the
// headers do where the envelope was not seen.
func (d *Decoder) smtp() string {
	e := &d.ev
	e.Kind = event.KindMail
	if reason := d.endpoints(); reason != "" {
		return reason
	}
	e.Network.Transport, e.Network.Protocol = "tcp", "smtp"
	from := d.rec.get(fMailFrom)
	if from == nil {
		from = d.rec.get(fFrom)
	}
	e.Mail.From = mailbox(d.text(from))
	to := d.rec.get(fRcptTo)
	if to == nil {
		to = d.rec.get(fTo)
	}
	for l := d.list(to); l.some && len(e.Mail.To) < maxRecipients; {
		if elem, set := l.next(); set {
			if s := mailbox(d.text(&elem)); s != "" {
				e.Mail.To = append(e.Mail.To, s)
			}
		}
	}
	e.Mail.TLS = d.flag(fTLS)
	return ""
}

// mailbox returns the address of "Name <address>", s itself without brackets.
func mailbox(s string) string {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '<' {
			s = s[i+1:]
			for j := range len(s) {
				if s[j] == '>' {
					return s[:j]
				}
			}
			return s
		}
	}
	return s
}

// stats maps stats.log: what the sensor lost between its network card and
// itself. The peer tells the processes of a cluster apart.
func (d *Decoder) stats() {
	e := &d.ev
	e.Kind = event.KindHealth
	e.Action = "stats"
	e.ID = d.text(d.rec.get(fPeer))
	e.Health.Received = d.count(fPktsLink)
	if !e.Health.Received.Known() {
		e.Health.Received = d.count(fPktsProc)
	}
	e.Health.Dropped = d.count(fPktsDropped)
	if n := e.Health.Received.Or(0); n > 0 {
		e.Health.PercentLost = min(100, 100*float64(e.Health.Dropped.Or(0))/float64(n))
	}
}

// captureLoss maps capture_loss.log: the share of acknowledged TCP data that
// never reached the sensor.
func (d *Decoder) captureLoss() {
	e := &d.ev
	e.Kind = event.KindHealth
	e.Action = "capture_loss"
	e.ID = d.text(d.rec.get(fPeer))
	if v := d.rec.get(fTSDelta); v != nil {
		if us, ok := interval(v.b, maxDuration); ok {
			e.Start, e.End = e.Time-us, e.Time
		}
	}
	e.Health.Received, e.Health.Dropped = d.count(fAcks), d.count(fGaps)
	if v := d.rec.get(fPercentLost); v != nil {
		// Bro 2.0 wrote a percent sign behind it.
		if x, ok := float(bytes.TrimSuffix(v.b, []byte{'%'})); ok && x >= 0 {
			e.Health.PercentLost = math.Min(x, 100)
		}
	}
}
