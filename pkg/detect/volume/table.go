package volume

import "slices"

// fewEntries is how many entries a table holds without a map: most keys send to
// few destinations, and there may be a million of them.
const fewEntries = 8

// table is a map that costs little while it is small. The zero value is empty.
type table[K comparable, V any] struct {
	few  []entry[K, V]
	many map[K]V
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func (t *table[K, V]) len() int { return len(t.few) + len(t.many) }

// get returns the value of a key, and whether there is one.
func (t *table[K, V]) get(key K) (v V, ok bool) {
	if t.many != nil {
		v, ok = t.many[key]
		return v, ok
	}
	for i := range t.few {
		if t.few[i].key == key {
			return t.few[i].value, true
		}
	}
	return v, false
}

func (t *table[K, V]) set(key K, value V) {
	if t.many != nil {
		t.many[key] = value
		return
	}
	for i := range t.few {
		if t.few[i].key == key {
			t.few[i].value = value
			return
		}
	}
	n := len(t.few)
	if n == fewEntries {
		t.many = make(map[K]V, 2*n)
		for i := range t.few {
			t.many[t.few[i].key] = t.few[i].value
		}
		t.many[key], t.few = value, nil
		return
	}
	if n == cap(t.few) {
		t.few = append(make([]entry[K, V], 0, n+max(1, n/2)), t.few...)
	}
	t.few = append(t.few, entry[K, V]{key, value})
}

func (t *table[K, V]) del(key K) {
	if t.many != nil {
		if delete(t.many, key); len(t.many) == 0 {
			t.many = nil
		}
		return
	}
	t.few = slices.DeleteFunc(t.few, func(e entry[K, V]) bool { return e.key == key })
}

// all hands out the entries in no order.
func (t *table[K, V]) all(yield func(K, V) bool) {
	for i := range t.few {
		if !yield(t.few[i].key, t.few[i].value) {
			return
		}
	}
	for k, v := range t.many {
		if !yield(k, v) {
			return
		}
	}
}
