// Package staging finds data being gathered on a host before it leaves
// (detections.md §5).
//
// # archive-sensitive
//
// A program packs something sensitive: secrets, keys, databases, what a cluster
// knows, people's homes, or a folder that holds these (the table is lists.go).
// Programs are:
//
//   - archivers (tar, zip, gzip, 7z, xz, bzip2, …), by the name of the process or
//     of its executable, by themselves or in the command line of a shell or a
//     wrapper (sh -c, busybox, sudo, xargs, …);
//   - interpreters whose command line names an archiver's module, and those that
//     opened both something sensitive and a file named like an archive, within
//     an hour, in either order: what they opened is all that is known of a script;
//   - programs that lie where no installed program lies (/tmp, a home, a hidden
//     folder), or were added to the container after its start, with an archiver's
//     arguments;
//   - what bears the name of a backup tool and is none: it lies where no installed
//     program lies, has another executable, or is told to copy or sync.
//
// What is packed is judged by what was opened (file.path), by the arguments, and
// by the working directory where those are relative. Reading an archive back is
// no staging, nor is the archive that is written.
//
// # Points
//
// Folder and program make 4 points, an alert: secrets, databases, a whole home, or
// a folder of a home that is named in full. What is packed where one stands in a
// home is mostly work: 2 points, a weak signal; homes of build accounts and single
// files that are compressed there are nothing. An output that is out of sight or
// streamed, a file that was seen open, a program from elsewhere and a server among
// the ancestors add points; all weights are thresholds of the site file.
//
// # Who is exempt
//
// Hosts that the site declares as backup sources, and what a known backup tool
// (restic, duplicati, velero, backup-agent, …) starts, unless a login or a server
// is among the ancestors or the archiver itself was brought along: a name proves
// little.
//
// # When it speaks
//
// There is a window of one hour for each folder and container (package window),
// and one signal: when its reasons change, when events double, and at its end. The
// final signal is a function of the events, whatever their order within their
// lateness; only which event of a script completes it depends on the order.
//
// # What it sees and misses
//
// It sees what the host sensor's rules report: with rules on executions only, the
// command line and the working directory; with rules on opens, the files as well.
// Falco counts no bytes; where a source gives the sizes of files, they are summed
// over distinct files. It misses programs under an innocent name in an ordinary
// place, scripts whose opens are not reported, folders that are in no list,
// arguments with spaces or variables that only the shell knew, an attacker who
// has put a backup tool's name among the ancestors, and data that is copied
// without being packed (transfer-tool, bulk-secret-read).
//
// # Bounds
//
// Per host at most 128 folders, 64 scripts, 256 files of known size in a pane,
// 512 bytes of each text.
package staging
