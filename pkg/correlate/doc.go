// Package correlate turns signals into alerts. The Correlator is the operator
// of ebb.signals.v1; it emits ebb.alerts.v1.
//
// # From signals to an incident
//
// A signal gets a profile: all identifiers that its own resolve to at its time
// (pkg/entity). Two signals are of one entity when their profiles match. An
// incident is the set of signals of one entity that matter:
//
//   - a signal that its detector calls an alert matters by itself;
//   - a weak one matters as half of a pair: a staging and an exfil signal of
//     one entity, each above the floor of its channel (join.go), at most a day
//     apart.
//
// Signals of one entity that matter and lie at most a day apart are one
// incident, so N stagings and M transfers are one alert. The rule of an
// incident is staging-then-exfil if it holds a pair of which the spans
// (first to newest event) overlap or lie at most 60 minutes apart, with 5
// minutes of slack, in either order; staging-then-exfil-24h if it holds a
// pair otherwise; else the detector of its strongest signal. A few megabytes to
// a destination that is merely new to its source pair by the rule of the day
// only: every hour has some (join.go). Health signals
// (sensor-silent) are of another owner and are joined to nothing.
//
// Incidents are not built up step by step: after each change the signals of
// the neighbourhood are grouped anew, in the order of their first events, and
// the groups are compared with the incidents that stand. What an incident is
// is thus a function of the signals and facts held, not of the order in which
// they came. A fact that arrives late resolves the signals that met its
// identifiers again, and joins or parts incidents.
//
// # Sums over sources
//
// Shares of distributed-upload tell what one source sent to a destination that is
// new to the site; the sources lie in many partitions and meet here (ADR 10). They
// are joined with nothing but each other: for each destination and day, the
// largest share of each source, of that day or the day before, is added up, and
// where the sum and the number of sources suffice the correlator makes a signal
// of its own, about the destination. It is held, judged and told like one that
// came, and follows from the shares that are held; it is written to no topic. It
// falls only where a share is taken back or proves to be of a source that has
// one, not where a share was forgotten. A record of ebb.signals.v1 that claims
// to be such a sum is ignored.
//
// # Identity of an alert
//
// The alert id is the hash of its founding signal's id. The founding signal is
// the earliest (by first event, then id) of the incident, during Settle, a
// minute of append time after the first revision: an older one that comes in
// this time takes the alert over (the first id is retracted with
// superseded_by), so that the order in which two detectors speak within a
// minute decides nothing. After that minute the id is fixed, and a half that
// comes late revises the alert that stands: here, and only here, the order of
// arrival shows in an id. When incidents merge, the one with
// the earliest founding signal keeps its id and the others are retracted.
//
// An incident closes a day after its last event or last news, whichever the
// log shows first, and is forgotten another day later. A signal more than a
// day after its last event founds a new one. The revision that a forgotten alert
// had reached is remembered for a month, so that no sink sees it count again.
//
// # Revisions
//
// A change of rule, severity, confidence, class, status or verdict, or a new
// detector, is a revision at once. Any other change of the document waits
// until 5 minutes after the last revision; nothing is emitted when the
// document would not differ. "notify" is first when nobody was paged for the
// alert, raised when severity rises or a pair is joined, retracted when one
// that paged goes away.
//
// # Budget
//
// Beyond Config.Budget alerts of one detector and event day, further ones
// are listed in one roll-up alert. Correlated rules have no budget: each of
// their alerts is an entity, and none may hide behind others.
//
// # Bounds
//
// Weak signals are held a day by their sources' watermark, or a little more
// by append time, strong ones as long as their incident, shares as long as their
// sum; maxShares of one destination, of which the smallest goes first. At most
// Config.MaxSignals and maxHeldBytes are held, maxPerID for one identifier.
// What must go goes in this order: weak exfil signals that were sent once,
// other weak exfil signals, weak staging signals, strong ones, those of an
// incident (never its founder); the longest unheard first. Everything that
// goes is counted.
//
// # State
//
// Signals lie in buckets by their id, claims by their narrow identifier and
// incidents by their alert id; the rest (marks, deployments, budgets,
// roll-ups) is shared. Indexes and groups follow from it and are rebuilt. A
// profile is state: it is what the graph said when it was last asked.
package correlate
