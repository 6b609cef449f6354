package falco

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/ebbwatch/ebbwatch/pkg/decode/rawjson"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

const maxAncestors = 8

// output is what one pass over output_fields collects beside the fields that
// go straight into the event.
type output struct {
	sum      uint64 // hash of all fields, in no order
	nanos    int64  // time of the event; 0: not given
	hostname string

	exe, args string
	ancestors [maxAncestors + 1]string // by index; 0 is the process itself

	fdName, fdType, directory, filename, path string

	local, remote, client, server netip.AddrPort
	domain                        string

	dropped, received event.Count
	lost              float64
}

// field takes one output field. Keys are Falco's field names; values are
// strings, integers, booleans or null.
func (o *output) field(e *event.Event, key string, v rawjson.Value) {
	s := rawjson.Scalar(v)
	if s != "" {
		o.sum += fieldHash(key, s)
	} else { // null, "", an object, an array
		o.sum += fieldHash(key, rawjson.View(v))
	}
	s = clean(s)
	switch key {
	case "evt.time", "evt.rawtime", "evt.time.iso8601":
		// Nanoseconds since the epoch; a text here is a time of day.
		if n, ok := rawjson.Int(v); ok && n > 1e17 {
			o.nanos = n
		}
	case "evt.type":
		e.Action = s
	case "evt.res":
		if s != "" && e.Outcome == "" {
			e.Outcome = outcome(s == "SUCCESS")
		}
	case "evt.failed":
		switch string(v) {
		case "true", "false":
			e.Outcome = outcome(string(v) == "false")
		}
	case "hostname", "evt.hostname":
		o.hostname = s
	case "container.id":
		e.Host.ContainerID = notHost(s)
	case "container.name":
		e.Host.ContainerName = notHost(s)
	case "k8s.ns.name":
		e.Host.Namespace = s
	case "k8s.pod.name":
		e.Host.Pod = s
	case "proc.name":
		e.Process.Name = s
	case "proc.cmdline":
		e.Process.CommandLine = s
	case "proc.args":
		o.args = s
	case "proc.exepath":
		e.Process.Executable = s
	case "proc.exe":
		o.exe = s
	case "proc.cwd":
		e.Process.WorkingDirectory = s
	case "proc.pid":
		e.Process.PID = rawjson.Count(v)
	case "proc.pname":
		e.Process.Parent = s
	case "proc.is_exe_upper_layer":
		e.Process.UpperLayer = rawjson.True(v)
	case "user.name":
		e.User.Name = s
	case "user.uid":
		e.User.ID = s
	case "n_drops":
		o.dropped = rawjson.Count(v)
	case "n_evts":
		o.received = rawjson.Count(v)
	case "n_drops_perc":
		o.lost = percent(v)
	default:
		switch {
		case strings.HasPrefix(key, "fd.") || strings.HasPrefix(key, "fs."):
			o.descriptor(e, key, s, v)
		case strings.HasPrefix(key, "proc.aname"):
			o.ancestor(key, s)
		}
	}
}

// descriptor takes one field of the file descriptor (fd.*) or of a system
// call that works on a path (fs.*).
func (o *output) descriptor(e *event.Event, key, s string, v rawjson.Value) {
	switch key {
	case "fd.name":
		o.fdName = s
	case "fd.type":
		o.fdType = s
	case "fd.directory":
		o.directory = s
	case "fd.filename":
		o.filename = s
	case "fs.path.name":
		o.path = s
	case "fs.path.target":
		if o.path == "" {
			o.path = s
		}
	case "fd.l4proto":
		e.Network.Transport = s
	case "fd.lip":
		o.local = netip.AddrPortFrom(address(s), o.local.Port())
	case "fd.lport":
		o.local = netip.AddrPortFrom(o.local.Addr(), port(v))
	case "fd.rip":
		o.remote = netip.AddrPortFrom(address(s), o.remote.Port())
	case "fd.rport":
		o.remote = netip.AddrPortFrom(o.remote.Addr(), port(v))
	case "fd.cip":
		o.client = netip.AddrPortFrom(address(s), o.client.Port())
	case "fd.cport":
		o.client = netip.AddrPortFrom(o.client.Addr(), port(v))
	case "fd.sip":
		o.server = netip.AddrPortFrom(address(s), o.server.Port())
	case "fd.sport":
		o.server = netip.AddrPortFrom(o.server.Addr(), port(v))
	case "fd.rip.name", "fd.sip.name":
		if o.domain == "" {
			o.domain = s
		}
	}
}

// ancestor takes proc.aname[2], which falcosidekick may rename proc.aname_2.
func (o *output) ancestor(key, name string) {
	at := strings.TrimSuffix(key[len("proc.aname"):], "]")
	if len(at) == 2 && at[1] >= '1' && at[1] <= '0'+maxAncestors {
		o.ancestors[at[1]-'0'] = name
	}
}

// finish puts into the event what more than one field decides.
func (o *output) finish(e *event.Event) {
	if e.Process.Executable == "" {
		e.Process.Executable = o.exe
	}
	if e.Process.CommandLine == "" && e.Process.Name != "" && o.args != "" {
		e.Process.CommandLine = e.Process.Name + " " + o.args
	}
	for _, name := range o.ancestors[1:] {
		if name != "" {
			e.Process.Ancestors = append(e.Process.Ancestors, name)
		}
	}
	if e.Process.Parent == "" {
		e.Process.Parent = o.ancestors[1]
	}
	if !o.endpoints(e) {
		o.file(e)
	}
}

// file sets the path of the descriptor, if it is one.
func (o *output) file(e *event.Event) {
	switch {
	case o.fdType != "" && o.fdType != "file" && o.fdType != "directory":
	case strings.HasPrefix(o.fdName, "/"):
		e.File.Path = o.fdName
	case o.path != "":
		e.File.Path = o.path
	case o.fdName != "" && onFiles(e.Action):
		e.File.Path = o.fdName // relative to a directory that Falco does not know
	case o.directory != "" && o.filename != "":
		e.File.Path = strings.TrimSuffix(o.directory, "/") + "/" + o.filename
	}
}

// health turns the alert about lost events into a health event and reports
// whether it was one.
func (o *output) health(e *event.Event) bool {
	if !o.dropped.Known() {
		return false
	}
	e.Kind = event.KindHealth
	e.Health = event.Health{Received: o.received, Dropped: o.dropped, PercentLost: o.lost}
	return true
}

// kind says what the alert is about.
func (o *output) kind(e *event.Event) event.Kind {
	switch {
	case aboutDevices(&e.Rule):
		return event.KindDevice
	case spawns(e.Action):
		return event.KindProcess
	case e.File.Path != "":
		return event.KindFile
	case onFiles(e.Action) && o.fdType == "" && !e.Source.IP.IsValid() && !e.Destination.IP.IsValid():
		return event.KindFile
	}
	return event.KindProcess
}

// aboutDevices reports whether a rule is about attached storage, by the words
// of its name and tags; T1052 is exfiltration over a physical medium.
func aboutDevices(r *event.Rule) bool {
	is := func(s string) bool {
		s = strings.ToLower(s)
		for word := range strings.FieldsFuncSeq(s, func(c rune) bool { return c == ' ' || c == '_' || c == '-' || c == '.' }) {
			switch word {
			case "usb", "removable", "t1052":
				return true
			}
		}
		return strings.Contains(s, "media attached") || strings.Contains(s, "media_attached")
	}
	return is(r.Name) || slices.ContainsFunc(r.Tags, is)
}

// spawns reports whether a system call makes a process.
func spawns(call string) bool {
	switch call {
	case "execve", "execveat", "clone", "clone3", "fork", "vfork", "procexec", "procexit":
		return true
	}
	return false
}

// onFiles reports whether a system call opens, writes or changes files; some
// of them work on sockets as well.
func onFiles(call string) bool {
	for _, stem := range [...]string{
		"open", "creat", "read", "pread", "write", "pwrite", "rename", "unlink", "link", "symlink",
		"mkdir", "rmdir", "truncate", "ftruncate", "chmod", "fchmod", "chown", "fchown", "lchown", "sendfile", "copy_file_range",
	} {
		if rest, ok := strings.CutPrefix(call, stem); ok {
			switch rest {
			case "", "at", "at2", "v", "v2", "64", "_by_handle_at":
				return true
			}
		}
	}
	return false
}

func outcome(ok bool) string {
	if ok {
		return "success"
	}
	return "failure"
}

// notHost makes the pseudo container "host" absent.
func notHost(s string) string {
	if s == "host" {
		return ""
	}
	return s
}

// fieldHash hashes a field by what it says, not by how it is written:
// falcosidekick escapes differently and may rename brackets.
func fieldHash(key, value string) uint64 {
	h := xxhash.Sum64String(strings.TrimSuffix(key, "]"))
	if i := strings.IndexByte(key, '['); i > 0 {
		h = xxhash.Sum64String(key[:i]) + xxhash.Sum64String(strings.Trim(key[i:], "[]"))
	} else if stem, n, ok := strings.Cut(key, "aname_"); ok {
		h = xxhash.Sum64String(stem+"aname") + xxhash.Sum64String(n)
	}
	return h ^ xxhash.Sum64String(value)*0x9E3779B97F4A7C15
}
