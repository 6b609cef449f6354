package hostlog

import (
	"encoding/hex"
	"iter"
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// maxMounts bounds the mounts whose records are not complete.
const maxMounts = 16

// mount is what the records of one audit event have said so far.
type mount struct {
	node, id       string // id: time and serial number, 1364481363.243:24287
	call           bool   // the SYSCALL record was seen: it is a mount
	titled         bool   // the PROCTITLE record was seen: with it all was, in either order
	done           bool   // it has been told of
	success        string // yes, no
	items, paths   int    // PATH records that there are, and those seen
	device, folder string
	cwd            string
	comm, exe, pid string
	user, userName string
	command        string
}

// isAudit recognises a record of auditd.
func isAudit(s string) bool {
	if strings.HasPrefix(s, "node=") {
		_, s, _ = strings.Cut(s, " ")
	}
	return strings.HasPrefix(s, "type=")
}

// auditRecord takes a record: node=HOST type=TYPE msg=audit(TIME:SERIAL): ….
// host is the one of the syslog line around it, if there is one.
func (d *Decoder) auditRecord(s, host string) (outcome, string) {
	if node, found := strings.CutPrefix(s, "node="); found {
		host, s, _ = strings.Cut(node, " ")
	}
	kind, rest, _ := strings.Cut(strings.TrimPrefix(s, "type="), " ")
	rest, ok := strings.CutPrefix(rest, "msg=audit(")
	id, rest, closed := strings.Cut(rest, ")")
	if !ok || !closed || kind == "" {
		return dead(decode.ReasonUnknownFormat)
	}
	micros, ok := auditTime(id)
	if !ok {
		return dead(decode.ReasonValue)
	}
	if host == "" {
		host = d.opts.Host
	}
	host = cleaned(host)
	d.ev.Time = micros
	rest = strings.TrimPrefix(rest, ":")
	at := d.mountOf(host, id)
	switch kind {
	case "SYSCALL":
		if !isMount(rest) {
			return ignored(ignoredAudit)
		}
		d.syscall(d.mount(at, host, id), rest)
	case "PATH":
		name := untrusted(fieldOf(rest, "name"))
		disk := isDisk(name)
		if at < 0 && !disk {
			return ignored(ignoredAudit)
		}
		m := d.mount(at, host, id)
		switch m.paths++; {
		case disk:
			m.device = kept(name, maxText)
		case m.folder == "":
			m.folder = kept(name, maxText)
		}
	case "CWD":
		if at < 0 {
			return ignored(ignoredAudit)
		}
		d.mount(at, host, id).cwd = kept(untrusted(fieldOf(rest, "cwd")), maxText)
	case "PROCTITLE":
		args := untrusted(fieldOf(rest, "proctitle"))
		if at < 0 && !mountsDisk(args) {
			return ignored(ignoredAudit)
		}
		d.mount(at, host, id).proctitle(args)
	default:
		if at < 0 {
			return ignored(ignoredAudit)
		}
		return ignored(ignoredPart)
	}
	return d.mounted(d.mount(d.mountOf(host, id), host, id))
}

// syscall takes what the SYSCALL record says.
func (d *Decoder) syscall(m *mount, rest string) {
	m.call = true
	for key, value := range fields(rest) {
		switch key {
		case "success":
			m.success = kept(value, 3)
		case "items":
			m.items, _ = strconv.Atoi(value)
			m.items = min(max(m.items, 0), 1<<10)
		case "comm":
			m.comm = kept(untrusted(value), maxText)
		case "exe":
			m.exe = kept(untrusted(value), maxText)
		case "pid":
			m.pid = kept(value, 10)
		case "uid":
			if m.user == "" {
				m.user = kept(value, 10)
			}
		case "auid":
			// Who logged in, unlike uid; unset for what the system does itself.
			if value != "4294967295" && value != "-1" && value != "unset" {
				m.user = kept(value, 10)
			}
		case "AUID":
			if name := strings.Trim(value, `"`); name != "unset" {
				m.userName = kept(name, maxText)
			}
		case "UID":
			if name := strings.Trim(value, `"`); m.userName == "" {
				m.userName = kept(name, maxText)
			}
		}
	}
}

// proctitle takes the command line, with which an event's records end, or in
// ausearch's order begin.
func (m *mount) proctitle(args string) {
	m.titled = true
	m.command = kept(strings.ReplaceAll(args, "\x00", " "), 2*maxText)
	for arg := range strings.SplitSeq(args, "\x00") {
		if m.device == "" && isDisk(arg) {
			m.device = kept(arg, maxText)
		}
	}
}

// mounted makes the event of a mount once it is complete.
func (d *Decoder) mounted(m *mount) (outcome, string) {
	if m.done || !m.call || !m.titled && (m.device == "" || m.items == 0 || m.paths < m.items) {
		return ignored(ignoredPart)
	}
	m.done = true
	if m.device == "" {
		return ignored(ignoredMount)
	}
	e := &d.ev
	switch {
	case isSystem(m.folder):
		return ignored(ignoredSystem)
	case m.node == "":
		return dead(decode.ReasonMissing)
	}
	e.Action, e.Host.Name = ActionMount, m.node
	e.Device.Name, e.File.Path = m.device, m.folder
	switch m.success {
	case "yes":
		e.Outcome = "success"
	case "no":
		e.Outcome = "failure"
	}
	e.Process.Name, e.Process.Executable, e.Process.WorkingDirectory = m.comm, m.exe, m.cwd
	e.Process.CommandLine = m.command
	if pid, err := strconv.ParseUint(m.pid, 10, 32); err == nil {
		e.Process.PID = event.N(pid)
	}
	e.User.ID, e.User.Name = m.user, m.userName
	d.identify(m.node, m.id, m.device)
	return isEvent, ""
}

// mountOf returns the index of an event, -1 if nothing of it is kept.
func (d *Decoder) mountOf(node, id string) int {
	for i := range d.audit {
		if d.audit[i].id == id && d.audit[i].node == node {
			return i
		}
	}
	return -1
}

// mount returns the event at an index, or a new one; where there are too many,
// the oldest is forgotten.
func (d *Decoder) mount(at int, node, id string) *mount {
	d.state = nil
	if at < 0 {
		if len(d.audit) == maxMounts {
			d.audit = append(d.audit[:0], d.audit[1:]...)
		}
		d.audit = append(d.audit, mount{node: strings.Clone(node), id: strings.Clone(id)})
		at = len(d.audit) - 1
	}
	return &d.audit[at]
}

// isMount reports whether a SYSCALL record is of mount(2), by its number on
// the architecture or the name in the enriched form.
func isMount(rest string) bool {
	var arch, number string
	for key, value := range fields(rest) {
		switch key {
		case "arch":
			arch = value
		case "syscall":
			number = value
		case "SYSCALL":
			return value == "mount"
		case "comm":
			// The enriched fields stand at the very end.
			if !strings.Contains(rest, "\x1d") {
				return numbers[arch] == number && number != ""
			}
		}
	}
	return numbers[arch] == number && number != ""
}

// numbers are those of mount(2) by architecture as auditd writes it (x86-64,
// i386, arm, aarch64, ppc64le, s390x); seen in records for the first
// only.
var numbers = map[string]string{
	"c000003e": "165", "40000003": "21", "40000028": "21", "c00000b7": "40", "c0000015": "21", "80000016": "21",
}

// mountsDisk reports whether a command line is one of mount with a disk.
func mountsDisk(args string) bool {
	name, rest, _ := strings.Cut(args, "\x00")
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		name = name[i+1:]
	}
	if !strings.HasPrefix(name, "mount") {
		return false
	}
	for arg := range strings.SplitSeq(rest, "\x00") {
		if isDisk(arg) {
			return true
		}
	}
	return false
}

// isSystem reports whether a folder is one that a system mounts at its start.
func isSystem(folder string) bool {
	switch folder {
	case "/", "/boot", "/efi", "/usr", "/var", "/home", "/sysroot":
		return true
	}
	return strings.HasPrefix(folder, "/boot/") || strings.HasPrefix(folder, "/sysroot/")
}

// auditTime reads SECONDS.MILLISECONDS:SERIAL as microseconds.
func auditTime(id string) (micros int64, ok bool) {
	stamp, serial, _ := strings.Cut(id, ":")
	sec, milli, _ := strings.Cut(stamp, ".")
	if len(id) > 40 || len(milli) != 3 || serial == "" || strings.Trim(serial, "0123456789") != "" {
		return 0, false
	}
	s, err := strconv.ParseUint(sec, 10, 40)
	m, err2 := strconv.ParseUint(milli, 10, 16)
	if micros = int64(s*1_000_000 + m*1000); err != nil || err2 != nil || micros <= 0 || micros > latest {
		return 0, false
	}
	return micros, true
}

// fields walks the fields of a record; values keep their quotation marks.
func fields(s string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for {
			s = strings.TrimLeft(s, " \x1d")
			eq := strings.IndexByte(s, '=')
			if eq < 0 {
				return
			}
			key := s[:eq]
			if i := strings.LastIndexAny(key, " \x1d"); i >= 0 {
				key = key[i+1:]
			}
			s = s[eq+1:]
			end := strings.IndexAny(s, " \x1d")
			if strings.HasPrefix(s, `"`) {
				if end = strings.IndexByte(s[1:], '"'); end >= 0 {
					end += 2
				}
			}
			if end < 0 {
				end = len(s)
			}
			if !yield(key, s[:end]) {
				return
			}
			s = s[end:]
		}
	}
}

func fieldOf(s, name string) string {
	for key, value := range fields(s) {
		if key == name {
			return value
		}
	}
	return ""
}

// untrusted undoes how the kernel writes text that comes from outside: in
// quotation marks, or in hexadecimal where it has spaces or control characters.
func untrusted(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	if s == "" || s == "(null)" || len(s)%2 != 0 || len(s) > 16<<10 || strings.Trim(s, "0123456789ABCDEF") != "" {
		return ""
	}
	text, err := hex.DecodeString(s)
	if err != nil {
		return ""
	}
	return string(text)
}
