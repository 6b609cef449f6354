package operator

// Divisible is an Operator whose state can be given to another number of
// partitions (`ebbwatch state repartition`).
type Divisible interface {
	Operator
	// Adopt takes over, into an empty operator under the same epochs, the
	// state of operators that have come to the end of their logs: the keyed
	// state of the record keys that are mine, and all shared state, joined.
	// A key is in one of them. What follows in the log of the new partition
	// meets the state that the key had. It depends on the order of from, and
	// leaves them as they are.
	Adopt(from []Operator, mine func(key []byte) bool) error
}
