package input

import "strings"

// shape is what the first JSON object of a text looks like: its keys, and
// those of the objects in it down to a third level, joined by dots. Of an
// array it is the first element's. The text may break off anywhere.
type shape struct {
	keys map[string]bool
	// text holds the beginnings, as written, of strings called "message".
	text map[string]string
}

const (
	maxKeys    = 512
	maxLevels  = 64 // of nesting that is followed
	maxMessage = 128
)

func (s shape) has(keys ...string) bool {
	for _, k := range keys {
		if !s.keys[k] {
			return false
		}
	}
	return true
}

func (s shape) any(keys ...string) bool {
	for _, k := range keys {
		if s.keys[k] {
			return true
		}
	}
	return false
}

// tagged reports whether an object inside looks like a Zeek record:
// {"conn":{"ts":…,"uid":…}}.
func (s shape) tagged() bool {
	for k := range s.keys { // order does not matter: any will do
		if tag, ok := strings.CutSuffix(k, ".ts"); ok && s.any(tag+".uid", tag+".id.orig_h", tag+".id_orig_h", tag+".fuid", tag+".peer") {
			return true
		}
	}
	return false
}

// shapeOf scans a text that begins with an object or array.
func shapeOf(b []byte) shape {
	s := shape{keys: map[string]bool{}, text: map[string]string{}}
	type level struct {
		object bool
		path   string // of the objects around, with a dot behind
		key    string // the key whose value comes, "" before a key
	}
	var stack []level
	for i := 0; i < len(b); i++ {
		switch c := b[i]; c {
		case '{', '[':
			if len(stack) == maxLevels {
				return s
			}
			path := ""
			if n := len(stack); n > 0 {
				path = stack[n-1].path
				if stack[n-1].key != "" {
					path += stack[n-1].key + "."
				}
			}
			stack = append(stack, level{object: c == '{', path: path})
		case '}', ']':
			if len(stack) <= 1 {
				return s
			}
			stack = stack[:len(stack)-1]
			if c == '}' && len(stack) == 1 && !stack[0].object {
				return s // the first element of the array is enough
			}
		case ',':
			if len(stack) > 0 {
				stack[len(stack)-1].key = ""
			}
		case '"':
			end, closed := stringEnd(b, i+1)
			if len(stack) > 0 {
				top := &stack[len(stack)-1]
				switch text := b[i+1 : end]; {
				case top.object && top.key == "" && closed:
					top.key = string(text)
					if strings.Count(top.path, ".") <= 2 && len(s.keys) < maxKeys && len(text) <= maxMessage {
						s.keys[top.path+top.key] = true
					}
				case top.key == "message" && s.text[top.path+top.key] == "":
					s.text[top.path+top.key] = string(text[:min(len(text), maxMessage)])
				}
			}
			i = end
		}
	}
	return s
}

// stringEnd returns where the string ends that begins at i, and whether it
// does.
func stringEnd(b []byte, i int) (end int, closed bool) {
	for ; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i, true
		}
	}
	return len(b), false
}
