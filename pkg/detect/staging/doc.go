// Package staging finds data being gathered on a host before it leaves.
//
// # archive-sensitive
//
// An archiver (tar, zip, gzip, 7z, xz, bzip2, …) reads a sensitive path:
// secrets, keys, databases, a cluster's kubelet, people's homes.
//
// It judges by what was opened (file.path), by the working directory where the
// arguments are relative, and by the arguments; the archive that is written is
// no argument of interest. Reading back (tar x, gzip -d) is not staging.
// Interpreters count where their command line names an archiver's module and
// what they opened is sensitive.
//
// It sees what the host sensor's rules report: with rules on executions only,
// the command line and the working directory; with rules on opens, the files
// as well. Falco gives no bytes.
//
// It misses a program of the attacker's own that is named like something else
// and whose opens are not reported, and archives of paths that are in no list.
// Known backup tools pass by their name or that of an ancestor, but not when
// the executable was added to the container after its start: a renamed rclone
// lies in the upper layer. A site declares its backup hosts.
package staging
