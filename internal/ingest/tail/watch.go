package tail

import (
	"log/slog"
	"sync/atomic"

	"github.com/fsnotify/fsnotify"
)

// Watch tells when it is worth to look at the folders. It is an advice: where
// the system cannot tell (network file systems, too many folders), polling
// does.
type Watch struct {
	log     *slog.Logger
	notify  *fsnotify.Watcher // nil: only polling
	wake    chan struct{}
	rescan  atomic.Bool
	folders map[string]bool
	warned  bool
}

// NewWatch begins to watch nothing. Without notifications of the system it is
// of no effect.
func NewWatch(log *slog.Logger) *Watch {
	w := &Watch{log: log, wake: make(chan struct{}, 1), folders: map[string]bool{}}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("no notifications of changed files: polling", "error", err)
		return w
	}
	w.notify = n
	go w.run()
	return w
}

func (w *Watch) run() {
	for {
		select {
		case ev, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if ev.Op&(fsnotify.Create|fsnotify.Remove|fsnotify.Rename) != 0 {
				w.rescan.Store(true)
			}
		case err, ok := <-w.notify.Errors:
			if !ok {
				return
			}
			w.log.Debug("notifications were lost", "error", err)
			w.rescan.Store(true)
		}
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// Wake tells that something changed.
func (w *Watch) Wake() <-chan struct{} { return w.wake }

// Rescan reports whether the folders themselves changed since the last call.
func (w *Watch) Rescan() bool { return w.rescan.Swap(false) }

// Works reports whether the system notifies at all.
func (w *Watch) Works() bool { return w.notify != nil && !w.warned }

// Follow watches the folders that the last scans of the sets looked into.
func (w *Watch) Follow(sets ...*Set) {
	if w.notify == nil {
		return
	}
	wanted := map[string]bool{}
	for _, s := range sets {
		for folder := range s.folders {
			wanted[folder] = true
		}
	}
	for folder := range wanted {
		if w.folders[folder] {
			continue
		}
		if err := w.notify.Add(folder); err != nil {
			if !w.warned {
				w.log.Warn("a folder cannot be watched: polling", "folder", folder, "error", err)
			}
			w.warned = true
			continue
		}
		w.folders[folder] = true
	}
	for folder := range w.folders {
		if !wanted[folder] {
			_ = w.notify.Remove(folder) // it may be gone already
			delete(w.folders, folder)
		}
	}
}

// Close ends the watch.
func (w *Watch) Close() error {
	if w.notify == nil {
		return nil
	}
	return w.notify.Close()
}
