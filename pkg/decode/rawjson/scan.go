package rawjson

// MaxDepth is how deep values may nest. Records of the sources that we read
// stay below 20.
const MaxDepth = 64

// Status says why Feed returned.
type Status uint8

// What Feed found.
const (
	More   Status = iota // the value goes on beyond the data
	Done                 // the value ended
	Array                // an array begins as a value of the outermost object
	Broken               // the next byte cannot stand where it does
)

// Scan follows the grammar of one JSON value through data that arrives in
// pieces. It checks the structure, not the text of numbers, literals and
// escapes. The zero value expects a value.
type Scan struct {
	// Watch makes Feed stop after the '[' of an array that is a value of the
	// outermost object: its elements may be many, and the caller may want
	// them one by one. Feed goes on inside the array; EndArray goes on
	// behind it.
	Watch bool

	state state
	isKey bool
	// objects has a bit for each level: 1 is an object, 0 an array. Levels
	// beyond MaxDepth are only counted.
	objects uint64
	depth   int
	deep    bool
}

type state uint8

const (
	wantValue state = iota
	wantFirstValue
	wantFirstKey
	wantKey
	wantColon
	wantNext // a comma, or the end of the container
	inString
	inEscape
	inScalar // number, true, false, null
	tooDeep
)

// Deep reports whether the value nested deeper than MaxDepth.
func (s *Scan) Deep() bool { return s.deep }

// Ends reports whether the value is complete if no more data comes, which is
// so inside a bare number or literal.
func (s *Scan) Ends() bool { return s.state == inScalar && s.depth == 0 }

// EndArray tells that the caller has consumed the array that Feed stopped at,
// with its ']'.
func (s *Scan) EndArray() {
	s.depth--
	s.state = wantNext
}

// Feed consumes data and returns how many bytes belong to the value so far.
func (s *Scan) Feed(data []byte) (n int, status Status) {
	for n < len(data) {
		c := data[n]
		switch s.state {
		case inString:
			for n < len(data) && data[n] != '"' && data[n] != '\\' {
				n++
			}
			if n == len(data) {
				return n, More
			}
			if data[n] == '\\' {
				s.state = inEscape
				n++
				continue
			}
			n++
			if !s.isKey {
				if s.ended() {
					return n, Done
				}
				continue
			}
			s.isKey = false
			s.state = wantColon
			continue
		case inEscape:
			s.state = inString
			n++
			continue
		case inScalar:
			if scalar(c) {
				n++
				continue
			}
			if s.ended() {
				return n, Done
			}
			continue
		default:
		}
		if c == ' ' || c == '\n' || c == '\r' || c == '\t' {
			n++
			continue
		}
		status = s.structure(c)
		if status == Broken {
			return n, Broken
		}
		n++
		if status != More {
			return n, status
		}
	}
	return len(data), More
}

// structure takes one byte outside of strings, numbers and white space.
func (s *Scan) structure(c byte) Status {
	switch s.state {
	case wantValue, wantFirstValue:
		switch {
		case c == '"':
			s.state = inString
		case c == '{':
			s.push(1)
			s.state = wantFirstKey
		case c == '[':
			outer := s.depth == 1 && s.objects&1 == 1
			s.push(0)
			s.state = wantFirstValue
			if outer && s.Watch {
				return Array
			}
		case c == ']' && s.state == wantFirstValue:
			return s.pop()
		case scalar(c):
			s.state = inScalar
		default:
			return Broken
		}
		if s.depth > MaxDepth {
			s.state = tooDeep
		}
	case wantFirstKey, wantKey:
		switch {
		case c == '"':
			s.state, s.isKey = inString, true
		case c == '}' && s.state == wantFirstKey:
			return s.pop()
		default:
			return Broken
		}
	case wantColon:
		if c != ':' {
			return Broken
		}
		s.state = wantValue
	case wantNext:
		object := s.objects>>(s.depth-1)&1 == 1
		switch {
		case c == ',' && object:
			s.state = wantKey
		case c == ',':
			s.state = wantValue
		case c == '}' && object, c == ']' && !object:
			return s.pop()
		default:
			return Broken
		}
	case tooDeep:
		switch c {
		case '"':
			s.state = inString
		case '{', '[':
			s.depth++
		case '}', ']':
			return s.pop()
		}
	default: // inside a string or a number, where Feed is by itself
	}
	return More
}

func (s *Scan) push(object uint64) {
	if s.depth < MaxDepth {
		s.objects = s.objects&^(1<<s.depth) | object<<s.depth
	} else {
		s.deep = true
	}
	s.depth++
}

func (s *Scan) pop() Status {
	s.depth--
	if s.ended() {
		return Done
	}
	return More
}

// ended leaves a value and reports whether it was the outermost.
func (s *Scan) ended() bool {
	switch {
	case s.depth == 0:
		return true
	case s.depth > MaxDepth:
		s.state = tooDeep
	default:
		s.state = wantNext
	}
	return false
}

func scalar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == '-' || c == '+' || c == '.' || c == 'E'
}
