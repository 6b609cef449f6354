package staging

import (
	"path"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// match is what one event says about an archive of something sensitive.
type match struct {
	root  string // the sensitive folder; may alias the event
	class class
	// of are the reasons that hold.
	of reason
}

// reason is a set of reasons.
type reason uint16

const (
	byArchiver reason = 1 << iota
	byScript          // an interpreter, by its code or by what it opened
	byStranger        // a program of unknown origin with an archiver's arguments
	byImpostor        // a program that bears the name of a backup tool
	opened            // a file below the folder was seen open
	outOfSight        // the archive goes where nobody looks
	streamed          // the archive goes to standard output
	notFromImage
	fromServer
)

// packers are the reasons that say who packs: one of them always holds.
const packers = byArchiver | byScript | byStranger | byImpostor

// look judges an event; ok is false where it is no archive of anything
// sensitive, or a known backup. Of most events it reads the name only.
func look(e *event.Event) (m match, ok bool) {
	name := program(e)
	kind, tool := archivers[name], tools[name]
	script, odd := interpreter(name), strange(e)
	if kind == 0 && !tool && !script && !odd && !wrappers[name] || e.Outcome == "failure" {
		return m, false
	}
	var c command
	switch {
	case kind != 0:
		c = read(name, arguments(e.Process.CommandLine), e.Process.WorkingDirectory)
		m.of = byArchiver
	case tool:
		if !impostor(e, odd) {
			return m, false
		}
		c = read("", arguments(e.Process.CommandLine), e.Process.WorkingDirectory)
		m.of = byImpostor
	case wrappers[name]:
		if c, ok = wrapped(e.Process.CommandLine, e.Process.WorkingDirectory); ok {
			m.of = byArchiver
			break
		}
		return m, false
	case script && scripted(e.Process.CommandLine):
		c = read("", quotes.Replace(e.Process.CommandLine), e.Process.WorkingDirectory)
		m.of = byScript
	case odd:
		// An archiver under another name is known by its arguments.
		c = read("tar", arguments(e.Process.CommandLine), e.Process.WorkingDirectory)
		if !archiveName(c.out) {
			return m, false
		}
		m.of = byStranger
	default:
		return m, false
	}
	if c.unpacks || m.of&byImpostor == 0 && backup(e, odd) {
		return m, false
	}
	m.consider(e.File.Path, c.out, false, true, kind)
	for _, p := range c.paths {
		m.consider(p.name, c.out, p.explicit, false, kind)
	}
	if m.class == harmless {
		return match{}, false
	}
	switch {
	case hides(c.out):
		m.of |= outOfSight
	case c.streams:
		m.of |= streamed
	}
	m.setting(e, odd)
	return m, true
}

// setting adds the reasons that lie in the process, not in what it does.
func (m *match) setting(e *event.Event, odd bool) {
	if e.Process.UpperLayer || odd {
		m.of |= notFromImage
	}
	if anyOf(e, servers) {
		m.of |= fromServer
	}
}

// program is the name of the executable where that tells more: a process can
// call itself anything.
func program(e *event.Event) string {
	if base := path.Base(e.Process.Executable); archivers[base] != 0 || tools[base] {
		return base
	}
	return e.Process.Name
}

// strange reports whether the executable is where no installed program is.
func strange(e *event.Event) bool {
	exe := e.Process.Executable
	if exe == "" || exe[0] != '/' {
		return false
	}
	for _, p := range loose {
		if strings.HasPrefix(exe, p) {
			return true
		}
	}
	return strings.Contains(exe, "/.")
}

// scripted reports whether an interpreter's command line packs files.
func scripted(line string) bool {
	line = strings.ToLower(line)
	for _, w := range modules {
		if strings.Contains(line, w) {
			return true
		}
	}
	return false
}

// impostor reports whether what bears the name of a backup tool is none: it
// was added after the start of the container, lies where no installed program
// lies, has another executable, or is told to do what no backup tool does.
func impostor(e *event.Event, odd bool) bool {
	if e.Process.UpperLayer || odd {
		return true
	}
	if base := path.Base(e.Process.Executable); e.Process.Executable != "" && strings.HasPrefix(e.Process.Executable, "/") &&
		!tools[base] && !interpreter(base) && base != "mono" && base != "dotnet" {
		return true
	}
	for a := range strings.FieldsSeq(e.Process.CommandLine) {
		if others[a] {
			return true
		}
	}
	return false
}

// backup reports whether a known backup tool has started this: its name among
// the ancestors passes, unless a server or a login is there too, or the archiver
// itself was brought along.
func backup(e *event.Event, odd bool) bool {
	return !e.Process.UpperLayer && !odd && anyOf(e, tools) && !anyOf(e, servers) && !anyOf(e, logins)
}

// anyOf reports whether the parent or an ancestor has one of the names.
func anyOf(e *event.Event, names map[string]bool) bool {
	if names[e.Process.Parent] {
		return true
	}
	for _, a := range e.Process.Ancestors {
		if names[a] {
			return true
		}
	}
	return false
}

// consider takes a path that is read. The folder of the highest class counts,
// and of equals the closer one. explicit says that the command names the path in
// full.
func (m *match) consider(p, out string, explicit, open bool, kind kindOfArchiver) {
	if p == "" || p == out || p[0] != '/' {
		return
	}
	where, c := sensitive(path.Clean(p), explicit, kind)
	switch {
	case c == harmless:
		return
	case c > m.class || c == m.class && closer(where, m.root):
		m.root, m.class = where, c
		m.of &^= opened
	}
	if open && where == m.root {
		m.of |= opened
	}
}

// sensitive returns the sensitive folder that holds a path, or the path itself
// where it holds sensitive folders.
func sensitive(p string, explicit bool, kind kindOfArchiver) (folder string, c class) {
	if strings.Contains(p, "/.") {
		for _, k := range keyFolders {
			if len(p) >= len(k)-1 {
				if i := strings.Index(p+"/", k); i >= 0 {
					return p[:i+len(k)-1], secret
				}
			}
		}
	}
	for _, r := range roots {
		if under(p, r.path) {
			return r.path, r.class
		}
	}
	switch {
	case holders[p] && kind != files:
		if p == "/opt" || p == "/run" || p == "/mnt" {
			return p, mixed
		}
		return p, secret
	case under(p, "/root"):
		return home("/root", p, explicit, kind)
	case strings.HasPrefix(p, "/home/"):
		user, _, _ := strings.Cut(p[len("/home/"):], "/")
		if builders[user] {
			return "", harmless
		}
		return home(p[:len("/home/")+len(user)], p, explicit, kind)
	}
	return "", harmless
}

// home judges a path in someone's home. The whole home, or a folder of it that
// is named in full, is somebody's data; what is packed where one stands is
// mostly work, and a single file that is compressed there is nothing.
func home(home, p string, explicit bool, kind kindOfArchiver) (string, class) {
	switch {
	case explicit || p == home:
		return home, homes
	case kind == files:
		return "", harmless
	}
	return home, mixed
}

// closer orders folders of one class: the longer name says more.
func closer(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a < b
}

func under(p, folder string) bool {
	return strings.HasPrefix(p, folder) && (len(p) == len(folder) || p[len(folder)] == '/')
}

// hides reports whether an archive is put out of sight: where everybody may
// write, or under a hidden name.
func hides(out string) bool {
	if out == "" {
		return false
	}
	for _, p := range places {
		if strings.HasPrefix(out, p) {
			return true
		}
	}
	return strings.HasPrefix(out, ".") && !strings.HasPrefix(out, "./") && !strings.HasPrefix(out, "../") || strings.Contains(out, "/.") && !strings.HasPrefix(out, "../")
}
