package icmp

import (
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/operator"
	"github.com/ebbwatch/ebbwatch/pkg/sketch"
)

// stateVersion is the format of a state.
const stateVersion = 1

// Append implements detect.State.
func (s *state) Append(dst []byte) []byte {
	return s.views.Append(operator.AppendUint(dst, stateVersion), func(dst []byte, v *view) []byte {
		dst = operator.AppendAddr(dst, v.client)
		dst = operator.AppendString(dst, v.realm)
		dst = operator.AppendInt(operator.AppendInt(dst, v.began), v.newest)
		dst = operator.AppendUint(dst, len(v.known))
		for _, k := range v.known {
			dst = operator.AppendInt(operator.AppendInt(operator.AppendAddr(dst, k.peer), k.first), k.last)
		}
		dst = v.progress.Append(dst)
		return v.hours.Append(dst, appendPair)
	})
}

func appendPair(dst []byte, p *pair) []byte {
	dst = operator.AppendAddr(dst, p.peer)
	for _, n := range [...]int64{p.first, p.last, p.blind, p.flow.start, p.flow.end, p.flow.longest, int64(p.best)} {
		dst = operator.AppendInt(dst, n)
	}
	for _, n := range [...]uint64{p.altered, p.unasked, p.unused, p.picked, uint64(p.emissions), p.flow.records} {
		dst = operator.AppendUint(dst, n)
	}
	dst = operator.AppendBool(operator.AppendString(dst, p.flow.layer), p.flow.exceeds)
	dst = operator.AppendBool(operator.AppendString(dst, p.points[:]), p.explained)
	for i := range 2 {
		dst = operator.AppendUint(operator.AppendUint(dst, p.flow.bytes[i]), p.flow.packets[i])
	}
	for _, s := range [...]*side{&p.side[out], &p.side[in], &p.quotes} {
		for _, n := range [...]uint64{s.messages, s.bytes, s.hashed, s.requests, s.again, s.fresh} {
			dst = operator.AppendUint(dst, n)
		}
		dst = s.contents.Append(dst, appendContent)
		dst = s.lengths.Append(dst, appendContent)
		dst = operator.AppendUint(dst, len(s.asked))
		for _, a := range s.asked {
			dst = operator.AppendUint(operator.AppendUint(operator.AppendUint(dst, a.key), a.bytes), a.hash)
			dst = operator.AppendBool(operator.AppendInt(dst, a.t), a.hashed)
		}
	}
	return detect.AppendEvidence(dst, p.evidence)
}

func appendContent(dst []byte, c *content) []byte {
	return operator.AppendUint(operator.AppendUint(dst, c.hash), c.bytes)
}

// Load implements detect.State.
func (s *state) Load(data []byte) error {
	r := operator.NewReader(data)
	if r.Uint() != stateVersion {
		return operator.ErrState
	}
	s.views.Load(r, func(r *operator.Reader, v *view) {
		v.hours.Grace = late
		v.client, v.realm = r.Addr(), r.String()
		v.began, v.newest = r.Int(), r.Int()
		for range r.Count() {
			v.known = append(v.known, known{r.Addr(), r.Int(), r.Int()})
		}
		v.progress.Load(r)
		v.hours.Load(r, loadPair)
	})
	return r.Err()
}

func loadPair(r *operator.Reader, h *detect.Hour[pair]) {
	p := &h.Value
	p.peer = r.Addr()
	p.first, p.last, p.blind = r.Int(), r.Int(), r.Int()
	p.flow.start, p.flow.end, p.flow.longest = r.Int(), r.Int(), r.Int()
	p.best = int(r.Int())
	p.altered, p.unasked, p.unused, p.picked = r.Uint(), r.Uint(), r.Uint(), r.Uint()
	p.emissions, p.flow.records = uint32(r.Uint()), r.Uint()
	p.flow.layer, p.flow.exceeds = r.String(), r.Bool()
	for i, level := range r.Bytes() {
		if i < len(p.points) {
			p.points[i] = min(level, uint8(len(signs[i].points)-1))
		}
	}
	p.explained = r.Bool()
	for i := range 2 {
		p.flow.bytes[i], p.flow.packets[i] = r.Uint(), r.Uint()
	}
	for _, s := range [...]*side{&p.side[out], &p.side[in], &p.quotes} {
		s.messages, s.bytes, s.hashed = r.Uint(), r.Uint(), r.Uint()
		s.requests, s.again, s.fresh = r.Uint(), r.Uint(), r.Uint()
		loadContents(r, &s.contents, &s.contentBytes)
		loadContents(r, &s.lengths, &s.lengthBytes)
		for range r.Count() {
			s.asked = append(s.asked, asked{key: uint32(r.Uint()), bytes: uint32(r.Uint()), hash: r.Uint(), t: r.Int(), hashed: r.Bool()})
		}
	}
	p.evidence = detect.LoadEvidence(r)
}

func loadContents(r *operator.Reader, s *sketch.Sample[content], sum *uint64) {
	s.Load(r, func(r *operator.Reader) content { return content{r.Uint(), uint32(r.Uint())} })
	*sum = sumOf(s)
}
