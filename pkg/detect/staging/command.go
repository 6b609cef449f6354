package staging

import (
	"path"
	"slices"
	"strings"
)

// command is what an archiver's command line says.
type command struct {
	unpacks bool   // it reads an archive back, lists or tests one
	out     string // the archive that is written; "" where it has no name
	streams bool   // the archive goes to standard output
	paths   []named
}

// named is a path that is packed. explicit says that the command names it in
// full, and not from where it stands.
type named struct {
	name     string
	explicit bool
}

// arguments are the words after the first. Falco joins the arguments with
// spaces, so those with spaces fall apart; paths of interest rarely have any.
func arguments(line string) []string {
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	return words[1:]
}

func tarLike(name string) bool {
	switch name {
	case "tar", "bsdtar", "gtar", "star":
		return true
	}
	return false
}

func zipLike(name string) bool {
	switch name {
	case "7z", "7za", "7zr", "7zz", "p7zip", "rar", "arj", "zpaq":
		return true
	}
	return false
}

// read reads the arguments of an archiver that stands in dir. For a name that
// is no archiver every word that looks like a path is one.
func read[T []string | string](name string, given T, dir string) (c command) {
	var args []string
	switch g := any(given).(type) {
	case []string:
		args = g
	case string:
		args = strings.Fields(g)
	}
	c.unpacks = unpacks(name, args)
	c.out = output(name, args)
	files := archivers[name] == files
	skip := -1
	found := false
	for i, a := range args {
		switch {
		case i <= skip || a == "" || a == c.out:
		case tarLike(name) && i == 0 && bundled(a):
			// The values of the letters follow in their order.
			for _, letter := range a {
				if !strings.ContainsRune("fCTXIbKNVHg", letter) {
					continue
				}
				if skip = max(skip, 0) + 1; letter == 'C' && skip < len(args) {
					dir = join(dir, args[skip])
				}
			}
		case zipLike(name) && i == 0:
			// The command.
		case strings.HasPrefix(a, "-") && name != "":
			value, used := option(name, a, args[i+1:])
			if used {
				skip = i + 1
			}
			if d, ok := directory(name, a, value); ok {
				dir = join(dir, d)
			}
		default:
			found = c.add(a, dir, name == "") || found
		}
	}
	if !found && (name == "cpio" || name == "pax") && strings.HasPrefix(dir, "/") && !holders[path.Clean(dir)] {
		c.paths = append(c.paths, named{dir, false}) // the list comes by standard input
	}
	if name == "" && c.out == "" {
		// Of code, the archive is what is named like one.
		for _, p := range c.paths {
			if archiveName(p.name) {
				c.out = p.name
				break
			}
		}
	}
	switch {
	case tarLike(name), name == "cpio", name == "pax", name == "zip":
		c.streams = c.out == "" && name != "zip" || c.out == "-"
	case files:
		c.streams = !found || slices.ContainsFunc(args, func(a string) bool {
			return a == "--stdout" || a == "--to-stdout" || strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.Contains(a, "c")
		})
	}
	return c
}

// add takes one word that may be a path. anything says that it may also be
// code, out of which only full paths are taken.
func (c *command) add(word, dir string, anything bool) bool {
	word = strings.Trim(word, `"'`)
	switch {
	case strings.HasPrefix(word, "/"):
		c.paths = append(c.paths, named{word, true})
	case strings.HasPrefix(word, "~"):
		user, rest, _ := strings.Cut(word[1:], "/")
		if user == "" {
			return false // whose home that is, the shell knew
		}
		c.paths = append(c.paths, named{path.Join("/home", user, rest), true})
	case anything || !strings.HasPrefix(dir, "/"):
		return false
	default:
		p := path.Join(dir, word)
		c.paths = append(c.paths, named{p, false})
	}
	return true
}

func join(dir, d string) string {
	if strings.HasPrefix(d, "/") {
		return d
	}
	return path.Join(dir, d)
}

// bundled reports whether tar's first word are its letters: "czf".
func bundled(a string) bool {
	return a != "" && len(a) <= 10 && strings.Trim(a, "AcdrtuxzjJZvfpPhklmOsSTUWwaBCGgiMnoVX0123456789") == "" && strings.ContainsAny(a, "cdrtuxA")
}

// option returns the value of an option, and whether that is the next word.
func option(name, a string, rest []string) (value string, used bool) {
	if _, v, found := strings.Cut(a, "="); found {
		return v, false
	}
	takes := false
	switch {
	case strings.HasPrefix(a, "--"):
		switch a {
		case "--file", "--directory", "--exclude", "--exclude-from", "--files-from", "--output", "--use-compress-program", "--transform", "--newer", "--level":
			takes = true
		}
	case tarLike(name):
		takes = strings.ContainsRune("fCTXIbKNVHg", rune(a[len(a)-1]))
	case name == "cpio":
		takes = strings.ContainsRune("OFHCE", rune(a[len(a)-1]))
	default:
		takes = a == "-o" || a == "-f" && name == "pax"
	}
	if !takes || len(rest) == 0 {
		return "", false
	}
	return rest[0], true
}

// directory reports whether an option changes where tar stands.
func directory(name, a, value string) (dir string, ok bool) {
	if !tarLike(name) && name != "cpio" {
		return "", false
	}
	switch {
	case strings.HasPrefix(a, "--directory"):
		return value, value != ""
	case strings.HasPrefix(a, "--"):
		return "", false
	case strings.HasSuffix(a, "C") && value != "":
		return value, true
	case strings.HasPrefix(a, "-C") && len(a) > 2:
		return a[2:], true
	}
	return "", false
}

// unpacks reports whether an archiver reads an archive back, or only lists or
// tests one.
func unpacks(name string, args []string) bool {
	if len(args) == 0 {
		return false
	}
	switch {
	case tarLike(name):
		for i, a := range args {
			switch a {
			case "--extract", "--get", "--list", "--compare", "--diff", "--delete":
				return true
			}
			if (i == 0 && bundled(a) || strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--")) && strings.ContainsAny(letters(a), "xtd") {
				return true
			}
		}
		return false
	case zipLike(name):
		switch args[0] {
		case "x", "e", "l", "t", "v", "h", "b":
			return true
		}
		return false
	case name == "cpio" || name == "pax":
		return slices.ContainsFunc(args, func(a string) bool {
			return a == "--extract" || strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.ContainsAny(a, "ir") && !strings.ContainsAny(a, "ow")
		})
	case archivers[name] == files:
		return slices.ContainsFunc(args, func(a string) bool {
			switch a {
			case "--decompress", "--uncompress", "--test", "--list":
				return true
			}
			return strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--") && strings.ContainsAny(a, "dtl")
		})
	}
	return false
}

// letters are the letters of an option up to the first one that takes a value:
// what follows f in -cfx is a name.
func letters(a string) string {
	a = strings.TrimPrefix(a, "-")
	if i := strings.IndexAny(a, "fCTXI"); i >= 0 && i+1 < len(a) && strings.HasPrefix(a, "-") {
		a = a[:i]
	} else if i >= 0 {
		a = a[:i]
	}
	return a
}

// output is the archive that is written, "" where there is none by name: it
// goes to standard output, or beside its input.
func output(name string, args []string) string {
	switch {
	case tarLike(name):
		for i, a := range args {
			if v, found := strings.CutPrefix(a, "--file="); found {
				return v
			}
			short := strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "--")
			at := strings.IndexByte(a, 'f')
			switch {
			case a == "--file", (short || i == 0 && bundled(a)) && at >= 0 && (at == len(a)-1 || !short):
				if i+1 < len(args) {
					return args[i+1]
				}
			case short && at > 0 && strings.Trim(a[1:at], "AcruzjJZvpPhaS") == "":
				return a[at+1:]
			}
		}
		return ""
	case name == "zip":
		for i, a := range args {
			if (!strings.HasPrefix(a, "-") || a == "-") && (i == 0 || args[i-1] != "-P") {
				return a
			}
		}
	case zipLike(name):
		for _, a := range args[min(1, len(args)):] {
			if !strings.HasPrefix(a, "-") {
				return a
			}
		}
	case name == "mksquashfs":
		if n := len(args); n >= 2 {
			return args[1]
		}
	}
	for i, a := range args {
		if v, found := strings.CutPrefix(a, "--output="); found {
			return v
		}
		if (a == "-o" || a == "--output" || a == "-O" && name == "cpio" || a == "-f" && name == "pax" || a == ">") && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
			if name == "cpio" && a == "-o" {
				continue // create
			}
			return args[i+1]
		}
	}
	return ""
}

// quotes turns code into words.
var quotes = strings.NewReplacer(`"`, " ", "'", " ", "(", " ", ")", " ", ",", " ", ";", " ", "[", " ", "]", " ", "=", " ")

// breaks turns the signs between commands into words of their own.
var breaks = strings.NewReplacer("&&", " ; ", "||", " ; ", "|", " ; ", ";", " ; ", "\n", " ; ", "(", " ; ", ")", " ; ", "`", " ; ", `"`, " ", "'", " ", ">", " > ")

// wrapped finds the archiver among the commands that a shell or a wrapper runs.
// All full paths of the line count: a list may come through a pipe.
func wrapped(line, dir string) (c command, ok bool) {
	// Most shells run no archiver: look before taking the line apart.
	if !mentions(line) {
		return c, false
	}
	words := strings.Fields(breaks.Replace(line))
	var full []string
	for at := 0; at < len(words); {
		end := at
		for end < len(words) && words[end] != ";" {
			end++
		}
		cmd := words[at:end]
		at = end + 1
		name, args := bare(cmd)
		switch {
		case name == "cd" && len(args) > 0:
			dir = join(dir, args[0])
		case archivers[name] != 0 && !ok:
			if c = read(name, args, dir); !c.unpacks {
				ok = true
				c.out = redirected(args, c.out)
			}
			continue
		}
		for _, w := range args {
			if strings.HasPrefix(w, "/") {
				full = append(full, w)
			}
		}
	}
	if ok && c.out == "" {
		c.streams = true
	}
	for _, p := range full {
		if ok && p != c.out {
			c.paths = append(c.paths, named{p, true})
		}
	}
	return c, ok
}

// redirected is where a shell sends the archive.
func redirected(args []string, out string) string {
	if i := slices.Index(args, ">"); i >= 0 && i+1 < len(args) && (out == "" || out == "-") {
		return args[i+1]
	}
	return out
}

// operands are wrappers whose own operands may come before the command.
var operands = map[string]bool{"find": true, "xargs": true, "sudo": true, "doas": true, "chroot": true, "nsenter": true, "flock": true, "timeout": true, "unshare": true}

// bare is a command without what only wraps it.
func bare(words []string) (name string, args []string) {
	skips := false
	for i, w := range words {
		base := path.Base(w)
		switch {
		case archivers[base] != 0 || base == "cd":
			return base, words[i+1:]
		case wrappers[base]:
			skips = skips || operands[base]
		case strings.HasPrefix(w, "-"), strings.Contains(w, "="), w[0] >= '0' && w[0] <= '9', skips:
		default:
			return base, words[i+1:]
		}
	}
	return "", words
}

// mentions reports whether a line names an archiver at all.
func mentions(line string) bool {
	from := 0
	for i := 0; i <= len(line); i++ {
		if i < len(line) && (line[i] >= 'a' && line[i] <= 'z' || line[i] >= '0' && line[i] <= '9') {
			continue
		}
		if n := i - from; n >= 2 && n <= 10 && archivers[line[from:i]] != 0 {
			return true
		}
		from = i + 1
	}
	return false
}
