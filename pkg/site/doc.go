// Package site holds what a site declares about itself: home networks,
// realms, resolvers, own and sanctioned names, classification, inventory and
// the settings of the detectors (DESIGN §7, "Site file").
//
// A Site is immutable after Parse. An entry with an "until" date no longer
// applies from that event time on; every question therefore takes the event
// time in microseconds, and no clock is read.
package site
