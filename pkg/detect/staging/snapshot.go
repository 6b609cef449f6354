package staging

import (
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/window"
)

const stateVersion = 1

// Append implements detect.State.
func (h *machine) Append(dst []byte) []byte {
	dst = operator.AppendUint(dst, stateVersion)
	dst = operator.AppendUint(dst, len(h.observers))
	for _, o := range h.observers {
		dst = operator.AppendString(dst, o)
	}
	dst = h.scripts.append(dst)
	dst = operator.AppendUint(dst, len(h.subjects))
	for _, s := range h.sorted() {
		dst = operator.AppendString(operator.AppendString(dst, s.key.container), s.key.root)
		dst = operator.AppendUint(dst, len(s.panes.List))
		for i := range s.panes.List {
			dst = s.panes.List[i].V.append(operator.AppendInt(dst, s.panes.List[i].At))
		}
		dst = operator.AppendUint(dst, len(s.ws.List))
		for i := range s.ws.List {
			w := &s.ws.List[i]
			t := &w.Value
			dst = operator.AppendInt(operator.AppendInt(dst, w.Start), w.End)
			for _, b := range [...]bool{w.Closed, t.sent, t.paused} {
				dst = operator.AppendBool(dst, b)
			}
			dst = operator.AppendUint(operator.AppendUint(operator.AppendUint(dst, t.of), t.class), t.events)
			dst = detect.AppendEvidence(dst, t.evidence)
		}
	}
	return dst
}

// Load implements detect.State.
func (h *machine) Load(data []byte) error {
	r := operator.NewReader(data)
	if r.Uint() != stateVersion {
		return operator.ErrState
	}
	for range r.Count() {
		h.observers = append(h.observers, r.String())
	}
	h.scripts.load(r)
	for range r.Count() {
		s := &subject{key: subjectKey{r.String(), r.String()}}
		for range r.Count() {
			at := r.Int()
			if window.PaneOf(at) != at {
				return operator.ErrState
			}
			s.panes.Of(at).load(r)
		}
		for range r.Count() {
			w := window.Window[told]{Start: r.Int(), End: r.Int(), Closed: r.Bool()}
			w.Value = told{
				sent: r.Bool(), paused: r.Bool(), of: reason(r.Uint()), class: readClass(r), events: r.Uint(), evidence: detect.LoadEvidence(r),
			}
			if n := len(s.ws.List); w.End <= w.Start || w.End-w.Start > window.Span || n > 0 && w.Start < s.ws.List[n-1].End {
				return operator.ErrState
			}
			s.ws.List = append(s.ws.List, w)
		}
		if r.Err() != nil {
			break
		}
		if h.subjects == nil {
			h.subjects = map[subjectKey]*subject{}
		}
		h.subjects[s.key] = s
	}
	h.reckon()
	return r.Err()
}

func (p *packed) append(dst []byte) []byte {
	dst = operator.AppendInt(operator.AppendInt(dst, p.first), p.last)
	dst = operator.AppendUint(operator.AppendUint(operator.AppendUint(dst, p.events), p.of), p.class)
	for _, t := range [...]string{p.act.command, p.act.program, p.act.user, p.act.directory, p.entity.host, p.entity.namespace, p.entity.pod, p.source} {
		dst = operator.AppendString(dst, t)
	}
	dst = operator.AppendUint(operator.AppendUint(dst, p.more), len(p.sizes))
	for _, f := range p.sizes {
		dst = operator.AppendUint(operator.AppendUint(dst, f.path), f.size)
	}
	return dst
}

func (p *packed) load(r *operator.Reader) {
	p.first, p.last = r.Int(), r.Int()
	p.events, p.of, p.class = r.Uint(), reason(r.Uint()), readClass(r)
	for _, t := range [...]*string{
		&p.act.command, &p.act.program, &p.act.user, &p.act.directory, &p.entity.host, &p.entity.namespace, &p.entity.pod, &p.source,
	} {
		*t = r.String()
	}
	p.more = r.Uint()
	for range r.Count() {
		p.sized(fileSize{r.Uint(), r.Uint()})
	}
}
