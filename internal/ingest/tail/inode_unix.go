//go:build unix

package tail

import (
	"os"
	"syscall"
)

// inodeOf returns device and inode of a file.
func inodeOf(info os.FileInfo) (inode, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, false
	}
	return inode{uint64(st.Dev), uint64(st.Ino)}, true //nolint:unconvert // the types differ between systems
}
