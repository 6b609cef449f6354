package staging

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/event"
	"github.com/ebbwatch/ebbwatch/pkg/signal"
	"github.com/ebbwatch/ebbwatch/pkg/site"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

// Bounds of a host's state.
const (
	maxSubjects  = 128
	maxWindows   = 4
	maxObservers = 4
	maxSizes     = 256 // files of a pane whose size is known apart
	maxText      = 512
	maxEvidence  = 8
	maxRecord    = 8 << 10
)

// grace is how long a window that spoke waits for late records after it was
// closed.
const grace = window.Span

var archiveInfo = detect.Info{
	ID:        "archive-sensitive",
	Role:      signal.RoleStaging,
	Kinds:     []event.Kind{event.KindProcess, event.KindFile},
	Default:   site.Setting{Mode: signal.ModeAlert, Floor: 2, Alert: 4},
	Alone:     true,
	Technique: []string{"T1560", "T1074"},
	Thresholds: []detect.Threshold{
		{Name: "secret_folder", Default: 3, Unit: "points", Doc: "secrets, keys, databases, what a cluster knows, or a folder that holds these"},
		{Name: "home", Default: 3, Unit: "points", Doc: "a whole home, or a folder in one that the command names in full"},
		{Name: "mixed_folder", Default: 1, Unit: "points", Doc: "what is packed where one stands in a home, /srv, /opt"},
		{Name: "archiver", Default: 1, Unit: "points", Doc: "the program packs files, or is an interpreter or an unknown program that does"},
		{Name: "impostor", Default: 2, Unit: "points", Doc: "the program bears the name of a backup tool and is none"},
		{Name: "files_opened", Default: 1, Unit: "points", Doc: "a file of the folder was seen open"},
		{Name: "out_of_sight", Default: 1, Unit: "points", Doc: "the archive goes where everybody may write, or under a hidden name"},
		{Name: "streamed", Default: 1, Unit: "points", Doc: "the archive goes to standard output"},
		{Name: "not_from_image", Default: 2, Unit: "points", Doc: "the executable was added to the container, or lies where no installed program lies"},
		{Name: "started_by_server", Default: 2, Unit: "points", Doc: "a web, application or database server is among the ancestors"},
	},
}

// Thresholds, in the order of Info.
const (
	ptSecret = iota
	ptHome
	ptMixed
	ptArchiver
	ptImpostor
	ptOpened
	ptOutOfSight
	ptStreamed
	ptNotFromImage
	ptFromServer
	ptCount
)

// archiveSensitive is the detector.
type archiveSensitive struct{ points [ptCount]float64 }

// NewArchiveSensitive makes the detector archive-sensitive.
func NewArchiveSensitive() detect.Detector {
	d := &archiveSensitive{}
	d.Configure(site.Default())
	return d
}

// Info implements detect.Detector.
func (*archiveSensitive) Info() detect.Info { return archiveInfo }

// Configure implements detect.Detector.
func (d *archiveSensitive) Configure(s *site.Site) {
	for i, t := range archiveInfo.Thresholds {
		d.points[i] = s.Threshold(archiveInfo.ID, t.Name, t.Default)
	}
}

// New implements detect.Detector.
func (d *archiveSensitive) New() detect.State { return &machine{of: d, next: detect.Never} }

// machine is the state of one host.
type machine struct {
	of        *archiveSensitive
	observers []string
	subjects  map[subjectKey]*subject
	scripts   scripts
	next      int64 // when Advance is wanted; follows from the subjects
}

// subjectKey is what is staged, and in which container.
type subjectKey struct{ container, root string }

func (k subjectKey) compare(o subjectKey) int {
	return cmp.Or(strings.Compare(k.container, o.container), strings.Compare(k.root, o.root))
}

// subject is what is known of one folder.
type subject struct {
	key   subjectKey
	ws    window.Windows[told]
	panes window.Panes[packed]
}

// told is what a window has said.
type told struct {
	sent, paused bool
	of           reason
	class        class
	events       uint64
	evidence     []signal.Evidence
}

// packed is what events of one pane, or one window, say of a folder.
type packed struct {
	first, last int64
	events      uint64
	of          reason
	class       class
	// Of several processes, the one whose command comes first in the order
	// of text speaks: the order of arrival decides nothing.
	act    act
	entity entity
	source string // Observer.Type
	// sizes are those of the files that were seen, the largest of each.
	sizes []fileSize
	more  uint64 // of the files for which there was no room
}

// act is a process.
type act struct{ command, program, user, directory string }

type entity struct{ host, namespace, pod string }

type fileSize struct{ path, size uint64 }

// Apply implements detect.State.
func (h *machine) Apply(e *event.Event, env *detect.Env) {
	if m, ok := look(e); ok {
		h.found(e, &m, env)
		return
	}
	h.scripts.look(e, func(m *match) { h.found(e, m, env) })
}

// found takes an event that is an archive of something sensitive.
func (h *machine) found(e *event.Event, m *match, env *detect.Env) {
	if env.Site.BackupSource(e.Source.IP, e.Host.Name, e.Time) {
		return
	}
	h.observe(env.Observer(e))
	key := subjectKey{e.Host.ContainerID, m.root}
	if key.container == "host" {
		key.container = ""
	}
	s := h.subjects[key]
	if s == nil {
		s = h.admit(subjectKey{strings.Clone(key.container), strings.Clone(key.root)}, env)
	}
	var one packed
	one.set(e, m)
	s.panes.Of(window.PaneOf(e.Time)).merge(&one)
	w := s.ws.At(e.Time)
	if w == nil {
		var gone []window.Window[told]
		var moved bool
		if w, gone, moved = s.ws.Add(e.Time, func() []int64 { return s.panes.Starts(nil) }); moved {
			h.moved(s, gone, env)
			w = s.ws.At(e.Time)
		}
	}
	w.Value.paused = false
	h.next = min(h.next, due(w))
	h.consider(s, w, e, env)
	if len(s.ws.List) > maxWindows {
		if first := &s.ws.List[0]; !first.Closed {
			h.close(s, first, env)
		}
		s.ws.List = slices.Delete(s.ws.List, 0, 1)
		s.panes.Drop(s.ws.List[0].Start)
	}
}

func (h *machine) observe(name string) {
	if !slices.Contains(h.observers, name) && len(h.observers) < maxObservers {
		h.observers = append(h.observers, name)
	}
}

// set makes p of one event.
func (p *packed) set(e *event.Event, m *match) {
	*p = packed{first: e.Time, last: e.Time, events: 1, of: m.of, class: m.class}
	p.act = act{e.Process.CommandLine, program(e), e.User.Name, e.Process.WorkingDirectory}
	p.entity = entity{e.Host.Name, e.Host.Namespace, e.Host.Pod}
	p.source = e.Observer.Type
	if n, known := e.File.Size.Get(); known {
		p.sizes = []fileSize{{xxhash.Sum64String(e.File.Path), n}}
	}
}

// merge adds q, whose texts may alias a record.
func (p *packed) merge(q *packed) {
	if p.last == 0 || q.first < p.first {
		p.first = q.first
	}
	p.last = max(p.last, q.last)
	p.events += q.events
	p.of |= q.of
	p.class = max(p.class, q.class)
	if q.act.command != "" && (p.act.command == "" || q.act.compare(p.act) < 0) {
		p.act = act{clip(q.act.command), clip(q.act.program), clip(q.act.user), clip(q.act.directory)}
	} else if p.act == (act{}) {
		p.act = act{"", clip(q.act.program), clip(q.act.user), clip(q.act.directory)}
	}
	if p.entity.host == "" || cmp.Or(strings.Compare(q.entity.namespace, p.entity.namespace), strings.Compare(q.entity.pod, p.entity.pod)) > 0 {
		p.entity = entity{strings.Clone(q.entity.host), strings.Clone(q.entity.namespace), strings.Clone(q.entity.pod)}
	}
	if p.source == "" || q.source < p.source {
		p.source = strings.Clone(q.source)
	}
	p.more += q.more
	for _, f := range q.sizes {
		p.sized(f)
	}
}

func (p *packed) sized(f fileSize) {
	i, have := slices.BinarySearchFunc(p.sizes, f.path, func(a fileSize, path uint64) int { return cmp.Compare(a.path, path) })
	switch {
	case have:
		p.sizes[i].size = max(p.sizes[i].size, f.size)
	case len(p.sizes) < maxSizes:
		p.sizes = slices.Insert(p.sizes, i, f)
	default:
		p.more += f.size
	}
}

// bytes are those of the files, ok is false where no size is known.
func (p *packed) bytes() (n uint64, ok bool) {
	n = p.more
	for _, f := range p.sizes {
		n += f.size
	}
	return n, n > 0 || len(p.sizes) > 0
}

func (a act) compare(b act) int {
	return cmp.Or(strings.Compare(clipped(a.command), b.command), strings.Compare(clipped(a.program), b.program), strings.Compare(clipped(a.user), b.user),
		strings.Compare(clipped(a.directory), b.directory))
}

func clipped(s string) string { return s[:min(len(s), maxText)] }

// clip bounds and clones a text.
func clip(s string) string { return strings.Clone(strings.ToValidUTF8(clipped(s), "")) }

// admit makes a subject. Where there is no room, the half of which least was
// seen goes.
func (h *machine) admit(key subjectKey, env *detect.Env) *subject {
	if len(h.subjects) >= maxSubjects {
		list := h.sorted()
		slices.SortStableFunc(list, func(a, b *subject) int { return cmp.Compare(a.weight(), b.weight()) })
		for _, s := range list[:maxSubjects/2] {
			delete(h.subjects, s.key)
		}
		env.Count("subjects_evicted", archiveInfo.ID, maxSubjects/2)
	}
	if h.subjects == nil {
		h.subjects = map[subjectKey]*subject{}
	}
	s := &subject{key: key}
	h.subjects[key] = s
	return s
}

func (s *subject) weight() (n uint64) {
	for i := range s.panes.List {
		n = max(n, s.panes.List[i].V.events)
	}
	return n
}

// sorted are the subjects in the order of their keys.
func (h *machine) sorted() []*subject {
	list := make([]*subject, 0, len(h.subjects))
	for _, s := range h.subjects {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *subject) int { return a.key.compare(b.key) })
	return list
}

func due(w *window.Window[told]) int64 {
	if w.Closed {
		return w.End + grace
	}
	return w.End
}

// Next implements detect.State.
func (h *machine) Next() detect.Timer {
	switch {
	case h.next == detect.Never:
		return detect.NoTimer
	case len(h.observers) == 1:
		return detect.Timer{Observer: h.observers[0], At: h.next}
	}
	return detect.Timer{At: h.next}
}

// Advance implements detect.State: windows end. Where the sources have
// closed, they say what they hold and stay.
func (h *machine) Advance(env *detect.Env) {
	at, over := h.next, true
	for _, o := range h.observers {
		over = over && env.Low(o, event.KindUnknown) == detect.Never
	}
	for _, s := range h.sorted() {
		for i := range s.ws.List {
			w := &s.ws.List[i]
			if due(w) > at || over && w.Value.paused {
				continue
			}
			w.Value.paused = over
			switch {
			case w.Closed:
			case over:
				h.say(s, w, env)
			default:
				h.close(s, w, env)
			}
		}
		if over {
			continue
		}
		s.ws.Delete(func(w *window.Window[told]) bool { return w.Closed && (!w.Value.sent || w.End+grace <= at) })
		if len(s.ws.List) == 0 {
			delete(h.subjects, s.key)
			continue
		}
		s.panes.Drop(s.ws.List[0].Start)
	}
	h.reckon()
}

func (h *machine) reckon() {
	h.next = detect.Never
	for _, s := range h.subjects {
		for i := range s.ws.List {
			if w := &s.ws.List[i]; !w.Value.paused {
				h.next = min(h.next, due(w))
			}
		}
	}
}

func (h *machine) close(s *subject, w *window.Window[told], env *detect.Env) {
	w.Closed = true
	h.say(s, w, env)
}

// moved follows a new cut of the windows.
func (h *machine) moved(s *subject, gone []window.Window[told], env *detect.Env) {
	for i := range gone {
		if into := s.ws.At(gone[i].Start); into != nil {
			for _, ev := range gone[i].Value.evidence {
				into.Value.evidence = detect.KeepEvidence(into.Value.evidence, ev, maxEvidence)
			}
		}
		if gone[i].Value.sent {
			h.withdraw(s, &gone[i], env)
		}
	}
	for i := range s.ws.List {
		w := &s.ws.List[i]
		if !w.Value.paused {
			h.next = min(h.next, due(w))
		}
		h.consider(s, w, nil, env)
	}
}

// Expired implements detect.State: a script may still write its archive. That
// all sources have closed says nothing about time.
func (h *machine) Expired(low int64) bool {
	if len(h.subjects) == 0 && len(h.scripts.list) == 0 {
		return true
	}
	return len(h.subjects) == 0 && low != detect.Never && h.scripts.newest()+window.Span < low
}
