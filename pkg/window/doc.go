// Package window cuts the event time of one subject into windows of an hour.
//
// # The cut
//
// Event time is a grid of panes of five minutes. A window starts with the pane
// of the subject's first event and is an hour long; the next one starts with
// the pane of the first event after it. What goes on for an hour is so not cut
// by the clock.
//
// # Invariants
//
//   - The cut is a function of the set of panes that hold events, not of the
//     order in which they came: sources deliver out of order (CloudTrail by
//     minutes), and a count must not be split because its first event was
//     late. An earlier pane therefore moves the windows after it, and
//     [Windows.Add] says which of them no longer exist.
//   - A window that was closed stays where it is. What comes later than that
//     is cut around it.
//   - What a caller keeps by pane ([Panes]) is its truth; what it keeps by
//     window can be made anew from that.
package window
