// Package hostlog decodes what Linux hosts log about removable media: the
// kernel's lines about USB storage, from syslog or the journal, and the
// records of auditd about mounts.
//
// # Forms, and how sure we are of each
//
// formats.md does not describe these logs. Each form was taken from records
// that are published; none of them is copied here, the tests have records of
// their own in the same shape.
//
//   - Kernel lines in syslog's old form (RFC 3164), with and without the
//     uptime in brackets and with fractions of seconds (journalctl -o
//     short-precise): many reports on kernel mailing lists and in bug
//     trackers, old and new, both of usb-storage and of uas. Sure. The oldest
//     wording (2006: "Attached scsi removable disk sdb") is not read.
//   - The same with ISO 8601 times (rsyslog's high-precision form, journalctl
//     -o short-iso, whose zone has no colon): usbrip's issue 15 names the
//     option; one kernel line in another tool's test. Fairly sure.
//   - RFC 5424: by the standard; no kernel line in that form was seen.
//   - The journal as JSON (journalctl -o json): whole records of kernel
//     messages about USB devices, with _KERNEL_SUBSYSTEM and _KERNEL_DEVICE,
//     are published in ROS and kernel mailing list sources. Sure. Only the
//     message, the time, the host and the identifier are used.
//   - auditd, mount(2): a whole event (SYSCALL, CWD, PATH, PROCTITLE) stands in
//     linux-audit/audit-userspace issue 325, in ausearch's order, the last
//     record first; both orders are read. It is of a RAM file system, which has
//     a PATH of its folder only. That a block device has one of its own is
//     taken from another reader of such logs, and no whole record of one was
//     seen; where it has none, the command line names the device. Fairly sure.
//     The enriched form (a byte 0x1D, then ARCH= SYSCALL= AUID=) is from
//     another reader's tests, the node= prefix from Wazuh's. Records inside of
//     syslog's lines (audispd) were not seen.
//
// Not read, for a reason:
//
//   - udevadm monitor: its blocks have neither a date nor a host (the number
//     in brackets counts from boot), so no event can be made of them.
//   - Mounts by fsopen, fsconfig and move_mount, which mount(8) of util-linux
//     2.39 and later uses (issue 325): no record of these was seen. The
//     kernel's lines about the disk are not concerned.
//   - ausearch -i, whose times and names depend on the language.
//
// # Invariants
//
//   - Each line gives exactly one event, ignored or dead record.
//   - A disk is told of once, where the kernel says that it is attached: as
//     removable, or on a SCSI host that belongs to a USB port. What the port
//     said of itself before (maker, model, serial number) goes along.
//   - A mount is told of once, by the record that completes what its event has
//     to say; only mounts of disks that may be removable, and none of the
//     system's own folders.
//   - What is kept between lines is bounded in number and length, and is part
//     of Header: reading that goes on in the middle of a file yields the same.
//   - ID is a hash of host, time and text, for mounts of host and audit event:
//     a line that arrives twice has one ID.
//   - A line without a year gets the year that puts it at most 30 days after,
//     else before, the reference time or the newest such line.
package hostlog
