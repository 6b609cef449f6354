package packet

// budget is what is left of Config.MaxBuffered.
type budget struct{ left int }

// span is a half-open range of bytes.
type span struct{ from, to int }

// assembly puts the pieces of a byte range together, in whatever order they
// come. Its memory is taken from a budget and goes back with release.
type assembly struct {
	buf []byte
	// spans are the filled ranges of buf: sorted, apart from each other.
	spans [8]span
	n     int
}

// put fills in data at offset off. False says that it does not fit: beyond
// limit, over the budget, or with more holes than are kept track of.
func (a *assembly) put(off int, data []byte, limit int, b *budget) bool {
	if len(data) == 0 {
		return true
	}
	end := off + len(data)
	if off < 0 || end > limit {
		return false
	}
	// The spans before, and those that touch or overlap, which melt into one.
	first := 0
	for first < a.n && a.spans[first].to < off {
		first++
	}
	last, whole := first, span{off, end}
	for last < a.n && a.spans[last].from <= end {
		whole.from, whole.to = min(whole.from, a.spans[last].from), max(whole.to, a.spans[last].to)
		last++
	}
	if first == last && a.n == len(a.spans) || !a.grow(end, limit, b) {
		return false
	}
	copy(a.buf[off:end], data)
	copy(a.spans[first+1:], a.spans[last:a.n])
	a.spans[first] = whole
	a.n += 1 - (last - first)
	return true
}

// grow makes buf at least n long, and none of it longer than limit.
func (a *assembly) grow(n, limit int, b *budget) bool {
	if n <= len(a.buf) {
		return true
	}
	if n > cap(a.buf) {
		size := min(max(2*cap(a.buf), n, 2048), limit)
		if b.left < size-cap(a.buf) {
			return false
		}
		b.left -= size - cap(a.buf)
		next := make([]byte, len(a.buf), size)
		copy(next, a.buf)
		a.buf = next
	}
	a.buf = a.buf[:n]
	return true
}

// prefix is what is filled without a hole from the beginning.
func (a *assembly) prefix() []byte {
	if a.n == 0 || a.spans[0].from > 0 {
		return nil
	}
	return a.buf[:a.spans[0].to]
}

// end is how far the filled ranges reach.
func (a *assembly) end() int {
	if a.n == 0 {
		return 0
	}
	return a.spans[a.n-1].to
}

// drop removes the first n bytes, which must be part of the prefix.
func (a *assembly) drop(n int) {
	if n == 0 {
		return
	}
	end := a.end()
	copy(a.buf, a.buf[n:end])
	a.buf = a.buf[:end-n]
	kept := 1
	if a.spans[0].to == n {
		copy(a.spans[:], a.spans[1:a.n])
		a.n--
		kept = 0
	} else {
		a.spans[0].to -= n
	}
	for i := kept; i < a.n; i++ {
		a.spans[i].from -= n
		a.spans[i].to -= n
	}
}

// release gives the memory back.
func (a *assembly) release(b *budget) {
	b.left += cap(a.buf)
	*a = assembly{}
}
