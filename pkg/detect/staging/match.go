package staging

import (
	"path"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// match is what one event says about an archive of something sensitive.
type match struct {
	root     string  // the sensitive folder; may alias the event
	points   float64 // of the folder
	opened   bool    // a file below it was seen open
	hidden   bool    // the archive goes where it is out of sight
	streamed bool    // the archive goes to standard output
	upper    bool    // the executable is not from the image
	server   bool    // a server is among the ancestors
}

// look judges an event; ok is false where it is no archive of anything
// sensitive, or a known backup.
func look(e *event.Event) (m match, ok bool) {
	name := program(e)
	args := strings.Fields(e.Process.CommandLine)
	if len(args) > 0 {
		args = args[1:]
	}
	switch {
	case archivers[name]:
		if unpacks(name, args) {
			return m, false
		}
	case interpreters[strings.TrimRight(name, "0123456789.")] || interpreters[name]:
		line := strings.ToLower(e.Process.CommandLine)
		packs := false
		for _, w := range modules {
			packs = packs || strings.Contains(line, w)
		}
		if !packs {
			return m, false
		}
	default:
		return m, false
	}
	m.upper = e.Process.UpperLayer
	if !m.upper && backup(e, name) {
		return m, false
	}
	out := output(name, args)
	m.consider(e.File.Path, out, true)
	dir := e.Process.WorkingDirectory
	relative := len(args) == 0
	for i, a := range args {
		switch {
		case a == out && a != "":
		case strings.HasPrefix(a, "-"):
			// -C DIR and --directory=DIR change the working directory.
			if (a == "-C" || a == "--directory") && i+1 < len(args) {
				dir = args[i+1]
			} else if d, found := strings.CutPrefix(a, "--directory="); found {
				dir = d
			}
		case strings.HasPrefix(a, "/"):
			m.consider(a, out, false)
		case strings.HasPrefix(a, "~"):
			m.consider("/home/"+strings.TrimPrefix(a, "~"), out, false)
		case i > 0 || name != "tar": // tar's bundled letters come first
			relative = true
		}
	}
	if relative && strings.HasPrefix(dir, "/") {
		m.consider(dir, out, false)
	}
	if m.root == "" {
		return m, false
	}
	m.streamed = out == "" || out == "-"
	m.hidden = hides(out)
	m.server = servers[e.Process.Parent]
	for _, a := range e.Process.Ancestors {
		m.server = m.server || servers[a]
	}
	return m, true
}

// program is the name of the executable: a process can call itself anything.
func program(e *event.Event) string {
	if base := path.Base(e.Process.Executable); base != "." && base != "/" && archivers[base] {
		return base
	}
	return e.Process.Name
}

// consider takes a path that is read. The folder with most points counts, and
// of equals the one that was seen first.
func (m *match) consider(p, out string, opened bool) {
	if p == "" || p == out || !strings.HasPrefix(p, "/") {
		return
	}
	where, points := sensitive(path.Clean(p))
	if points == 0 {
		return
	}
	if points > m.points {
		m.root, m.points = where, points
	}
	m.opened = m.opened || (opened && where == m.root)
}

// sensitive returns the sensitive folder that holds a path.
func sensitive(p string) (folder string, points float64) {
	for _, k := range keyFolders {
		if i := strings.Index(p+"/", "/"+k+"/"); i >= 0 {
			return p[:i+1+len(k)], 3
		}
	}
	for _, r := range roots {
		if p == r.path || (strings.HasPrefix(p, r.path) && p[len(r.path)] == '/') {
			return r.path, r.points
		}
	}
	return "", 0
}

// unpacks reports whether an archiver reads an archive back, or only lists or
// tests one.
func unpacks(name string, args []string) bool {
	if len(args) == 0 {
		return false
	}
	switch name {
	case "tar", "bsdtar", "gtar", "star":
		for i, a := range args {
			if a == "--extract" || a == "--get" || a == "--list" || a == "--compare" || a == "--diff" {
				return true
			}
			bundled := i == 0 && !strings.HasPrefix(a, "/") && !strings.HasPrefix(a, "--")
			if (bundled || (strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--"))) && strings.ContainsAny(letters(a), "xtd") {
				return true
			}
		}
		return false
	case "7z", "7za", "7zr", "7zz", "rar":
		return args[0] == "x" || args[0] == "e" || args[0] == "l" || args[0] == "t"
	case "ar":
		return strings.ContainsAny(letters(args[0]), "xtp")
	case "cpio", "pax":
		for _, a := range args {
			if a == "-i" || a == "--extract" || a == "-r" {
				return true
			}
		}
		return false
	}
	for _, a := range args {
		if a == "--decompress" || a == "--uncompress" || a == "--test" || a == "--list" ||
			(strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && name != "zip" && strings.ContainsAny(a, "dtl")) {
			return true
		}
	}
	return false
}

// letters are the letters of an option up to the first one that takes a value:
// what follows f in -cfx is a name.
func letters(a string) string {
	a = strings.TrimPrefix(a, "-")
	if i := strings.IndexByte(a, 'f'); i >= 0 {
		a = a[:i]
	}
	return a
}

// output is the archive that is written, "" where there is none by name: it
// goes to standard output, or beside its input.
func output(name string, args []string) string {
	switch name {
	case "tar", "bsdtar", "gtar", "star":
		for i, a := range args {
			if v, found := strings.CutPrefix(a, "--file="); found {
				return v
			}
			option := a == "--file" || (strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--")) || i == 0
			if option && !strings.HasPrefix(a, "/") && strings.HasSuffix(a, "f") && i+1 < len(args) {
				return args[i+1]
			}
			if at := strings.IndexByte(a, 'f'); strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && at > 0 && at+1 < len(a) {
				return a[at+1:]
			}
		}
	case "zip", "7z", "7za", "7zr", "7zz", "rar":
		for i, a := range args {
			if strings.HasPrefix(a, "-") || (name != "zip" && i == 0) {
				continue
			}
			return a
		}
	}
	for i, a := range args {
		if (a == "-o" || a == "--output") && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
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
	return strings.HasPrefix(out, ".") && !strings.HasPrefix(out, "./") && !strings.HasPrefix(out, "../") || strings.Contains(out, "/.")
}

// backup reports whether a known backup tool is at work.
func backup(e *event.Event, name string) bool {
	if tools[name] || tools[e.Process.Name] || tools[e.Process.Parent] {
		return true
	}
	for _, a := range e.Process.Ancestors {
		if tools[a] {
			return true
		}
	}
	return false
}
