package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/publicsuffix"

	"github.com/ebbwatch/ebbwatch/internal/config"
	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/pipeline"
	"github.com/ebbwatch/ebbwatch/pkg/site"
)

// declaredSite is a version of the site file that was accepted.
type declaredSite struct {
	content []byte
	// since is when the file was modified: of two versions the later one
	// holds, whichever instance declares it. Without a file it is when this
	// process started.
	since time.Time
	site  *site.Site
}

// sinceHead begins the bytes of the site's epoch. It is a comment to the
// parser.
const sinceHead = "# ebbwatch: modified "

// epoch are the bytes of the epoch: the file, headed by when it was modified.
func (d *declaredSite) epoch() []byte {
	return append([]byte(sinceHead+d.since.UTC().Format(time.RFC3339Nano)+"\n"), d.content...)
}

// splitEpoch takes the bytes of an epoch apart. What has no head is older than
// all that has.
func splitEpoch(data []byte) (since time.Time, content []byte) {
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	text, ok := strings.CutPrefix(string(head), sinceHead)
	if !ok {
		return time.Time{}, data
	}
	since, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, data
	}
	return since, rest
}

// supersedes is stream.Config.Supersedes: a site file that was modified later
// replaces the one that holds. So instances that see a change one after the
// other do not replace each other's.
func supersedes(kind string, held, declared []byte) bool {
	if kind != detect.EpochSite {
		return true
	}
	heldSince, heldContent := splitEpoch(held)
	since, content := splitEpoch(declared)
	return since.After(heldSince) && !bytes.Equal(heldContent, content)
}

// superseding is supersedes for the engines of a service, which says where a
// newer file holds than its own.
func superseding(room *Room) func(kind string, held, declared []byte) bool {
	return func(kind string, held, declared []byte) bool {
		ok := supersedes(kind, held, declared)
		if since, content := splitEpoch(held); !ok && !bytes.Equal(held, declared) && !bytes.HasSuffix(declared, content) {
			room.Log.Warn("a newer site file holds than the one of this instance", "modified", since)
		}
		return ok
	}
}

// declarer is what takes epochs (stream.Engine).
type declarer interface {
	SetEpoch(kind string, data []byte) error
}

// declare tells an engine the site and the code at its start.
func declare(to declarer, d *declaredSite) error {
	return errors.Join(declareSite(to, d), to.SetEpoch(detect.EpochOperator, operatorVersion()))
}

// declareSite makes an engine take a changed site file as a new epoch.
func declareSite(to declarer, d *declaredSite) error { return to.SetEpoch(detect.EpochSite, d.epoch()) }

// operatorVersion are the bytes of the epoch that says which code processes:
// the release, and the public suffix list that is part of it.
func operatorVersion() []byte {
	return fmt.Appendf(nil, "release: %s\nsuffixes: %s\n", Version(), publicsuffix.List.String())
}

// readSite reads and checks the site file.
func readSite(c *Common) (*declaredSite, error) {
	d := &declaredSite{since: time.Now()}
	if c.Site != "" {
		info, err := os.Stat(c.Site)
		if err == nil {
			d.since = info.ModTime()
			d.content, err = os.ReadFile(c.Site)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: site: %w", config.ErrUsage, err)
		}
	}
	var err error
	if d.site, err = pipeline.CheckSite(d.content); err != nil {
		return nil, fmt.Errorf("%w: site %s: %w", config.ErrUsage, c.Site, err)
	}
	return d, nil
}

// siteFile watches the site file of a process and hands a changed one to its
// services. One that is not accepted is refused, said, and counted; what held
// before goes on.
type siteFile struct {
	common *Common
	log    *slog.Logger
	apply  []func(*declaredSite) error

	held    *declaredSite
	refused string // the problem of the file as it is, said once

	reloads *prometheus.CounterVec
	bad     prometheus.Gauge
	since   prometheus.Gauge
}

// Times of the watch. A file that changes is read once it has been still for
// siteSettle: a half-written one may be valid.
const (
	siteSettle = time.Second
	sitePoll   = 10 * time.Second
)

func newSiteFile(room *Room, c *Common, services []Service) (*siteFile, error) {
	held, err := readSite(c)
	if err != nil {
		return nil, err
	}
	f := &siteFile{
		common: c, log: room.Log, held: held,
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ebbwatch_site_reloads_total", Help: "Changed site files, by what became of them: applied or refused.",
		}, []string{"result"}),
		bad: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ebbwatch_site_refused", Help: "1 while the site file as it stands is refused and an older one holds.",
		}),
		since: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "ebbwatch_site_modified_timestamp_seconds", Help: "When the site file that this process declares was modified.",
		}),
	}
	for _, s := range services {
		if s.Site != nil {
			f.apply = append(f.apply, s.Site)
		}
	}
	room.Metrics.MustRegister(f.reloads, f.bad, f.since)
	f.reloads.WithLabelValues("applied")
	f.reloads.WithLabelValues("refused")
	f.since.Set(float64(held.since.UnixMilli()) / 1e3)
	// The services have read it a moment ago, each for itself.
	return f, f.hand(held)
}

// hand gives a version to all services.
func (f *siteFile) hand(d *declaredSite) (err error) {
	for _, apply := range f.apply {
		err = errors.Join(err, apply(d))
	}
	return err
}

// task watches until ctx ends. SIGHUP reads the file at once; without a site
// file it is taken and nothing is done.
func (f *siteFile) task(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	changed := make(<-chan fsnotify.Event)
	if f.common.Site != "" {
		// The folder, not the file: editors and mounts replace it.
		if w, err := fsnotify.NewWatcher(); err != nil {
			f.log.Warn("no notifications of changes, the site file is looked at from time to time", "every", sitePoll, "error", err)
		} else {
			defer func() { _ = w.Close() }()
			if err := w.Add(filepath.Dir(f.common.Site)); err != nil {
				f.log.Warn("no notifications of changes, the site file is looked at from time to time", "every", sitePoll, "error", err)
			}
			changed = w.Events
		}
	}
	poll := time.NewTicker(sitePoll)
	defer poll.Stop()
	settle := time.NewTimer(time.Hour)
	settle.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			f.log.Info("SIGHUP: the site file is read again")
			f.look()
		case _, ok := <-changed:
			if !ok {
				changed = nil
				continue
			}
			settle.Reset(siteSettle)
		case <-poll.C:
			settle.Reset(siteSettle)
		case <-settle.C:
			f.look()
		}
	}
}

// look reads the file and takes it where it is another one.
func (f *siteFile) look() {
	if f.common.Site == "" {
		return
	}
	next, err := readSite(f.common)
	if err == nil && bytes.Equal(next.content, f.held.content) {
		f.refused = ""
		f.bad.Set(0)
		return
	}
	if err == nil && !next.since.After(f.held.since) {
		err = fmt.Errorf("site %s: modified %s, not after the one that holds (%s): touch it if it is meant", f.common.Site,
			next.since.UTC().Format(time.RFC3339), f.held.since.UTC().Format(time.RFC3339))
	}
	if err == nil {
		err = f.hand(next)
	}
	if err != nil {
		problem := strings.Join(strings.Split(strings.TrimPrefix(err.Error(), config.ErrUsage.Error()+": "), "\n"), "; ")
		if problem != f.refused {
			f.refused = problem
			f.reloads.WithLabelValues("refused").Inc()
			f.log.Error("the changed site file is refused, the old one holds", "file", f.common.Site, "error", problem)
		}
		f.bad.Set(1)
		return
	}
	f.held, f.refused = next, ""
	f.bad.Set(0)
	f.since.Set(float64(next.since.UnixMilli()) / 1e3)
	f.reloads.WithLabelValues("applied").Inc()
	f.log.Info("the changed site file holds from the next records on", "file", f.common.Site, "modified", next.since)
}
