package tail

import (
	"cmp"
	"math"
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// Group is one log of one sensor: files that follow each other.
type Group struct {
	Observer string // the sensor's name
	Log      string // conn, dns, …; "" where files are not named after logs
	// Progress is the newest event time that was read, for the caller to keep:
	// of several groups the one that is furthest behind is read first.
	Progress int64

	files []*File // that are not done, oldest first
	turn  uint64  // when it was read last
	held  uint64  // the scan that found the rest of an older content not ready yet
}

func (g *Group) add(f *File) {
	at, found := slices.BinarySearchFunc(g.files, f, older)
	if !found {
		g.files = slices.Insert(g.files, at, f)
	}
}

func older(a, b *File) int {
	return cmp.Or(a.order.Compare(b.order), cmp.Compare(a.path, b.path), cmp.Compare(a.id.number, b.id.number))
}

func (g *Group) remove(f *File) {
	g.files = slices.DeleteFunc(g.files, func(o *File) bool { return o == f })
}

// CaughtUp reports whether all that is there was read.
func (g *Group) CaughtUp() bool {
	for _, f := range g.files {
		if f.more {
			return false
		}
	}
	return true
}

// next is the file to read now, nil when there is nothing. A file is read
// only after those before it: where they were rotated away and it has
// something, they are complete, and what is left of them goes to the sink.
func (g *Group) next(sink decode.Sink) *File {
	for i := 0; i < len(g.files); i++ {
		f := g.files[i]
		if !g.due(f) {
			continue
		}
		for _, before := range slices.Clone(g.files[:i]) {
			if !before.rotated && !before.gone || before.reader == nil {
				continue
			}
			if before.grown(); before.more {
				return before
			}
			before.finish(nil, sink)
		}
		return f
	}
	return nil
}

// Picker chooses what to read.
type Picker struct{ turns uint64 }

// Next chooses what to read now: the oldest file with something to read of
// the group that is furthest behind. Limit is the event time up to which it
// may run ahead before it is another's turn. What is left of files that turn
// out to be complete goes to the sink that of returns for a group of a set.
func (p *Picker) Next(sets []*Set, of func(set int, g *Group) decode.Sink) (f *File, set int, limit int64) {
	for {
		var best *Group
		limit = math.MaxInt64
		for i, s := range sets {
			for _, g := range s.groups {
				if g.idle() {
					continue
				}
				switch {
				case best == nil:
					best, set = g, i
				case g.Progress < best.Progress || g.Progress == best.Progress && g.turn < best.turn:
					limit = best.Progress
					best, set = g, i
				case g.Progress < limit:
					limit = g.Progress
				}
			}
		}
		if best == nil {
			return nil, 0, 0
		}
		p.turns++
		best.turn = p.turns
		if f := best.next(of(set, best)); f != nil {
			return f, set, limit
		}
	}
}

// idle reports whether there is nothing to read now.
func (g *Group) idle() bool { return !slices.ContainsFunc(g.files, g.due) }

// due reports whether a file is to be read now.
func (g *Group) due(f *File) bool {
	return f.more && !f.retry.After(f.set.now) && (g.held != f.set.scans || f.order.IsZero())
}
