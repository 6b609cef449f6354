package staging

import (
	"path"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// maxScripts bounds the processes that are remembered.
const maxScripts = 64

// scripts are interpreters, and programs of unknown origin, of which one half
// was seen: that they opened something sensitive, or a file that is named like
// an archive. Which files they are is all that can be known of a script.
type scripts struct{ list []script }

type script struct {
	id    uint64 // container, process and name
	roots []opening
	out   string // an archive, "" if it has opened none
	wrote int64
}

// opening is a sensitive folder of which a script opened a file.
type opening struct {
	root  string
	class class
	at    int64
}

// maxOpenings bounds the folders of a script.
const maxOpenings = 4

func (x *script) newest() int64 {
	at := x.wrote
	for i := range x.roots {
		at = max(at, x.roots[i].at)
	}
	return at
}

// look takes an event that is no archive by itself, and calls found for each
// folder of which the process is known to have packed something by now.
func (s *scripts) look(e *event.Event, found func(m *match)) {
	pid, known := e.Process.PID.Get()
	if e.Kind != event.KindFile || !known || e.File.Path == "" || e.Outcome == "failure" {
		return
	}
	odd := strange(e)
	if !odd && !interpreter(e.Process.Name) || backup(e, odd) {
		return
	}
	p := path.Clean(e.File.Path)
	root, c := sensitive(p, false, trees)
	archive := archiveName(p)
	if c <= mixed && !archive {
		return
	}
	id := xxhash.Sum64String(e.Host.ContainerID) ^ xxhash.Sum64String(e.Process.Name)*31 ^ pid*0x9E3779B97F4A7C15
	x := s.of(id, e.Time)
	if archive {
		if x.out == "" || p < x.out {
			x.out = strings.Clone(p)
		}
		x.wrote = max(x.wrote, e.Time)
	} else {
		x.opened(root, c, e.Time)
	}
	for i := range x.roots {
		o := &x.roots[i]
		if x.out == "" || !archive && o.root != root || max(o.at, x.wrote)-min(o.at, x.wrote) > window.Span {
			continue
		}
		m := match{root: o.root, class: o.class, of: byScript | opened}
		if odd {
			m.of = byStranger | opened
		}
		if hides(x.out) {
			m.of |= outOfSight
		}
		m.setting(e, odd)
		found(&m)
	}
}

func (x *script) opened(root string, c class, at int64) {
	for i := range x.roots {
		if o := &x.roots[i]; o.root == root {
			o.at = max(o.at, at)
			return
		}
	}
	if len(x.roots) < maxOpenings {
		x.roots = append(x.roots, opening{strings.Clone(root), c, at})
	}
}

// of returns what is known of a process. Beyond the bound the one that was
// silent longest is forgotten.
func (s *scripts) of(id uint64, at int64) *script {
	oldest := 0
	for i := range s.list {
		x := &s.list[i]
		if x.id == id {
			if x.newest()+window.Span < at {
				*x = script{id: id} // its number was given again
			}
			return x
		}
		if x.newest() < s.list[oldest].newest() {
			oldest = i
		}
	}
	if len(s.list) == maxScripts {
		s.list = slices.Delete(s.list, oldest, oldest+1)
	}
	s.list = append(s.list, script{id: id})
	return &s.list[len(s.list)-1]
}

// newest is when anything was seen last.
func (s *scripts) newest() (at int64) {
	for i := range s.list {
		at = max(at, s.list[i].newest())
	}
	return at
}

func (s *scripts) append(dst []byte) []byte {
	dst = operator.AppendUint(dst, len(s.list))
	for i := range s.list {
		x := &s.list[i]
		dst = operator.AppendInt(operator.AppendString(operator.AppendUint(dst, x.id), x.out), x.wrote)
		dst = operator.AppendUint(dst, len(x.roots))
		for _, o := range x.roots {
			dst = operator.AppendInt(operator.AppendUint(operator.AppendString(dst, o.root), o.class), o.at)
		}
	}
	return dst
}

func (s *scripts) load(r *operator.Reader) {
	for range r.Count() {
		x := script{id: r.Uint(), out: r.String(), wrote: r.Int()}
		for range r.Count() {
			x.roots = append(x.roots, opening{r.String(), readClass(r), r.Int()})
		}
		s.list = append(s.list, x)
	}
}

func readClass(r *operator.Reader) class { return class(min(r.Uint(), uint64(secret))) }
