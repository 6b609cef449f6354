//go:build unix

package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// lockName is the file that carries the lock. The kernel releases the lock
// when the process ends, however it ends; the file stays.
const lockName = "ebbwatch.lock"

// folderLock is a locked folder.
type folderLock struct {
	file *os.File
	// wasFull says that the last broker on it ended because the disk was full.
	wasFull bool
}

// fullMark takes the place of the process id in the lock's file: bytes that the
// disk has already.
const fullMark = "full\n"

// markFull notes that the disk was full, for the next start.
func (l *folderLock) markFull() error { return writeAt(l.file, fullMark) }

func (l *folderLock) unlock() { _ = l.file.Close() }

// lockFolder creates the folder with mode 0700, closes it to others if it
// exists, and locks it.
func lockFolder(folder string) (*folderLock, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, folderError(folder, err)
	}
	if err := os.Chmod(folder, 0o700); err != nil { //nolint:gosec // a folder needs its execute bit
		return nil, folderError(folder, err)
	}
	f, err := os.OpenFile(filepath.Join(folder, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, folderError(folder, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, folderError(folder, err)
		}
		owner := "another process"
		var buf [32]byte
		n, _ := f.ReadAt(buf[:], 0)
		if pid := strings.TrimSpace(string(buf[:n])); pid != "" {
			owner = "process " + pid
		}
		return nil, fmt.Errorf("data folder %s: %w by %s", folder, ErrInUse, owner)
	}
	var was [len(fullMark)]byte
	n, _ := f.ReadAt(was[:], 0)
	// Who holds it, for the message above; the lock is the kernel's.
	if err := errors.Join(f.Truncate(0), writeAt(f, fmt.Sprintf("%8d\n", os.Getpid()))); err != nil {
		_ = f.Close()
		return nil, folderError(folder, err)
	}
	return &folderLock{f, string(was[:n]) == fullMark}, nil
}

func writeAt(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}
