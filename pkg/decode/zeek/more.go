package zeek

import (
	"bytes"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// others maps the logs that tell of files beside files.log, and of who has an
// address. told is false for a record that does neither.
func (d *Decoder) others(t logType) (told bool, reason string) {
	switch t {
	case logFTP:
		return d.ftp()
	case logSMBFiles:
		return d.smbFiles()
	case logDHCP:
		return d.dhcp()
	default:
		return d.ntlm()
	}
}

// ftp maps the commands of ftp.log that move a file. The same file stands in
// files.log, where it was analysed: File.ID is its fuid.
func (d *Decoder) ftp() (bool, string) {
	e := &d.ev
	v := d.rec.get(fCommand)
	if v == nil {
		return false, ""
	}
	switch string(bytes.ToUpper(v.b)) {
	case "STOR", "APPE", "STOU":
		e.File.FromSource = true
	case "RETR":
	default:
		return false, ""
	}
	e.Kind = event.KindTransfer
	if reason := d.endpoints(); reason != "" {
		return false, reason
	}
	e.Network.Transport, e.Network.Protocol = "tcp", "ftp"
	e.Action = d.text(v)
	e.File.ID = d.text(d.rec.get(fFUID))
	e.File.Path = d.text(d.rec.get(fArg))
	e.File.MimeType = d.text(d.rec.get(fMimeType))
	e.File.Size = d.count(fFileSize)
	e.File.Provider = "FTP"
	return true, ""
}

// smbFiles maps what smb_files.log says of files that were opened, read or
// written. How much was moved is not in it: its size is that of the file. What
// moved stands in files.log.
func (d *Decoder) smbFiles() (bool, string) {
	e := &d.ev
	v := d.rec.get(fAction)
	if v == nil {
		return false, ""
	}
	switch string(v.b) {
	case "SMB::FILE_WRITE", "SMB::PRINT_WRITE":
		e.File.FromSource = true
	case "SMB::FILE_READ", "SMB::PRINT_READ", "SMB::FILE_OPEN", "SMB::PRINT_OPEN":
	default:
		return false, ""
	}
	e.Kind = event.KindTransfer
	if reason := d.endpoints(); reason != "" {
		return false, reason
	}
	e.Network.Transport, e.Network.Protocol = "tcp", "smb"
	e.Action = d.text(v)
	e.File.ID = d.text(d.rec.get(fFUID))
	e.File.Path = d.joined(d.text(d.rec.get(fFolder)), d.text(d.rec.get(fName)))
	e.File.Provider = "SMB"
	return true, ""
}

// joined is a folder of a share and a name in it.
func (d *Decoder) joined(folder, name string) string {
	if folder == "" || name == "" {
		return folder + name
	}
	at := len(d.scratch)
	d.scratch = append(d.scratch, folder...)
	if folder[len(folder)-1] != '\\' {
		d.scratch = append(d.scratch, '\\')
	}
	d.scratch = append(d.scratch, name...)
	return view(d.scratch[at:])
}

// dhcp maps leases: which machine has an address. It is a connection of which
// nothing is known but the names of its ends, so that it counts nowhere. Its own
// stands in conn.log: it has no ID here.
func (d *Decoder) dhcp() (bool, string) {
	e := &d.ev
	e.ID = ""
	name := d.hostName(fHostName)
	of := fAssigned
	if !d.rec.set.has(of) {
		of = fClientAddr
	}
	if name == "" || !d.rec.set.has(of) {
		return false, ""
	}
	a, reason := d.addr(of)
	if reason != "" {
		return false, reason
	}
	e.Kind = event.KindConn
	e.Source.IP, e.Source.Domain = a, name
	if e.Destination.IP, reason = d.addr(fServerAddr); reason == decode.ReasonValue {
		return false, reason
	}
	e.Network.Transport, e.Network.Protocol = "udp", "dhcp"
	e.Action = "lease"
	return true, ""
}

// ntlm maps logins that succeeded, in which a machine gives its name.
func (d *Decoder) ntlm() (bool, string) {
	e := &d.ev
	e.ID = ""
	name := d.hostName(fWorkstation)
	if name == "" || !d.flag(fSuccess) {
		return false, ""
	}
	e.Kind = event.KindConn
	if reason := d.endpoints(); reason != "" {
		return false, reason
	}
	e.Source.Domain = name
	e.Network.Transport, e.Network.Protocol = "tcp", "ntlm"
	e.Action = "login"
	return true, ""
}
