package detect

// Timers returns how many timers stand in the queues of a set.
func Timers(s *Set) (n int) {
	for _, q := range s.timers {
		n += q.n
	}
	return n
}
